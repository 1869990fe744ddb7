//! What is known of a message, for programs.

use serde::Serialize;
use tower_inbox::inbox::store::{
    AuditEntry, Explanation, FailedAttempts, KeyState, LeaseSummary, LetterState, LetterSummary,
    RecordSummary,
};

use crate::text::time;

/// An explanation as JSON.
#[derive(Serialize)]
pub(crate) struct Explained {
    consumer: String,
    key: String,
    window_seconds: u64,
    state: &'static str,
    /// What the next delivery comes to.
    next_delivery: &'static str,
    handled_at: Option<String>,
    until: Option<String>,
    lease: Option<Lease>,
    leases: u32,
    attempts: Option<Attempts>,
    record: Option<Record>,
    dead_letter: Option<Letter>,
    audit: Vec<Entry>,
}

impl Explained {
    pub(crate) fn new(explanation: &Explanation) -> Self {
        let state = &explanation.state;
        let (handled_at, until) = match state {
            KeyState::Handled { at, until } => (*at, Some(*until)),
            KeyState::Dead { until } | KeyState::Expired { until } => (None, Some(*until)),
            KeyState::Leased(lease) => (None, Some(lease.until)),
            _ => (None, None),
        };
        let lease = match state {
            KeyState::Leased(lease) => Some(Lease::new(lease)),
            _ => None,
        };
        Self {
            consumer: explanation.consumer.to_string(),
            key: explanation.key.to_string(),
            window_seconds: explanation.window.as_secs(),
            state: word(state),
            next_delivery: next_delivery(state),
            handled_at: handled_at.map(time),
            until: until.map(time),
            lease,
            leases: explanation.leases,
            attempts: explanation.attempts.as_ref().map(Attempts::new),
            record: explanation.record.as_ref().map(Record::new),
            dead_letter: explanation.letter.as_ref().map(Letter::new),
            audit: explanation.audit.iter().map(Entry::new).collect(),
        }
    }
}

/// The state in one word.
pub(crate) fn word(state: &KeyState) -> &'static str {
    match state {
        KeyState::Free => "free",
        KeyState::Expired { .. } => "expired",
        KeyState::InTransaction => "in_transaction",
        KeyState::Leased(_) => "leased",
        KeyState::Handled { .. } => "handled",
        KeyState::Dead { .. } => "dead",
        _ => "unknown",
    }
}

pub(crate) fn next_delivery(state: &KeyState) -> &'static str {
    match state {
        KeyState::Free | KeyState::Expired { .. } => "handled",
        KeyState::InTransaction | KeyState::Leased(_) => "in_flight",
        KeyState::Handled { .. } => "duplicate",
        KeyState::Dead { .. } => "dead_letter",
        _ => "unknown",
    }
}

#[derive(Serialize)]
struct Lease {
    owner: String,
    until: String,
    token: i64,
    attempt: u32,
}

impl Lease {
    fn new(lease: &LeaseSummary) -> Self {
        Self {
            owner: lease.owner.clone(),
            until: time(lease.until),
            token: lease.token,
            attempt: lease.attempt,
        }
    }
}

#[derive(Serialize)]
struct Attempts {
    started: u32,
    finished: u32,
    first_at: String,
    last_at: String,
    last_error: Option<String>,
}

impl Attempts {
    fn new(attempts: &FailedAttempts) -> Self {
        Self {
            started: attempts.attempts.started,
            finished: attempts.attempts.finished,
            first_at: time(attempts.first_at),
            last_at: time(attempts.last_at),
            last_error: attempts.last_error.clone(),
        }
    }
}

#[derive(Serialize)]
struct Record {
    fingerprint: Option<String>,
    response_bytes: Option<u64>,
}

impl Record {
    fn new(record: &RecordSummary) -> Self {
        let fingerprint = record.fingerprint.as_ref();
        let hex = |bytes: &[u8; 16]| format!("{:032x}", u128::from_be_bytes(*bytes));
        Self {
            fingerprint: fingerprint.map(|fingerprint| hex(fingerprint.as_bytes())),
            response_bytes: record.response_bytes,
        }
    }
}

/// A dead letter as JSON.
#[derive(Serialize)]
pub(crate) struct Letter {
    consumer: String,
    key: String,
    state: &'static str,
    died_at: String,
    deaths: u32,
    started: u32,
    finished: u32,
    first_at: String,
    requeued_at: Option<String>,
    reason: String,
    payload_bytes: Option<u64>,
}

impl Letter {
    pub(crate) fn new(letter: &LetterSummary) -> Self {
        Self {
            consumer: letter.consumer.to_string(),
            key: letter.key.to_string(),
            state: match letter.state() {
                LetterState::Dead => "dead",
                LetterState::Requeued => "requeued",
            },
            died_at: time(letter.died_at),
            deaths: letter.deaths,
            started: letter.attempts.started,
            finished: letter.attempts.finished,
            first_at: time(letter.first_at),
            requeued_at: letter.requeued_at.map(time),
            reason: letter.reason.clone(),
            payload_bytes: letter.payload_bytes,
        }
    }
}

/// An entry of the audit as JSON.
#[derive(Serialize)]
pub(crate) struct Entry {
    number: i64,
    at: String,
    actor: String,
    action: String,
    consumer: String,
    key: Option<String>,
    detail: Option<String>,
}

impl Entry {
    pub(crate) fn new(entry: &AuditEntry) -> Self {
        Self {
            number: entry.number,
            at: time(entry.at),
            actor: entry.actor.clone(),
            action: entry.action.clone(),
            consumer: entry.consumer.clone(),
            key: entry.key.map(|key| key.to_string()),
            detail: entry.detail.clone(),
        }
    }
}
