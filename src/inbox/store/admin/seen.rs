use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Forgotten, KeyState, LeaseSummary, Requeued};

/// What the rows of a message say together; seconds since 2020-01-01.
///
/// The same for both databases, so that they cannot tell two stories.
#[derive(Debug, Default)]
pub(in crate::inbox::store) struct Seen {
    pub(in crate::inbox::store) now: i64,
    pub(in crate::inbox::store) window: i64,
    pub(in crate::inbox::store) expires_at: Option<i64>,
    /// Only one that agrees with the claim.
    pub(in crate::inbox::store) lease: Option<LeaseSummary>,
    pub(in crate::inbox::store) letter: Option<LetterSeen>,
    /// Whether there are attempts, or is something left of a lease.
    pub(in crate::inbox::store) traces: bool,
    /// Whether a transaction is at work on the message.
    pub(in crate::inbox::store) locked: bool,
}

/// What matters of a dead letter here.
#[derive(Debug, Clone, Copy)]
pub(in crate::inbox::store) struct LetterSeen {
    /// The end of the claim that it made.
    pub(in crate::inbox::store) claimed_until: i64,
    pub(in crate::inbox::store) requeued_at: Option<i64>,
    pub(in crate::inbox::store) payload: bool,
}

impl Seen {
    pub(in crate::inbox::store) fn state(&self) -> KeyState {
        let Some(until) = self.expires_at.filter(|until| *until > self.now) else {
            return match self.expires_at {
                // Whoever is told of a duplicate holds the lock for a moment, too; but there is none.
                _ if self.locked => KeyState::InTransaction,
                Some(until) => KeyState::Expired { until: moment(until) },
                None => KeyState::Free,
            };
        };
        if let Some(lease) = &self.lease {
            return KeyState::Leased(lease.clone());
        }
        if self.dead_letter().is_some_and(|letter| letter.claimed_until == until) {
            return KeyState::Dead { until: moment(until) };
        }
        let at = handled_at(until, self.window, self.now);
        KeyState::Handled { at, until: moment(until) }
    }

    /// What is to be forgotten, or why it is not.
    pub(in crate::inbox::store) fn forget(&self, force: bool) -> Result<KeyState, Forgotten> {
        match self.state() {
            KeyState::Leased(lease) if !force => Err(Forgotten::Leased(lease)),
            KeyState::Free | KeyState::Expired { .. } | KeyState::Dead { .. }
                if self.dead_letter().is_some() =>
            {
                Err(Forgotten::DeadLetter)
            }
            KeyState::Free if !self.traces => Err(Forgotten::NotThere),
            state => Ok(state),
        }
    }

    /// The letter that is to be requeued, or why it is not.
    pub(in crate::inbox::store) fn requeue(&self, force: bool) -> Result<LetterSeen, Requeued> {
        let letter = self.letter.ok_or(Requeued::NotThere)?;
        match self.state() {
            KeyState::Leased(_) | KeyState::InTransaction => return Err(Requeued::InFlight),
            // The claim is not the letter's own, so somebody else has handled it.
            KeyState::Handled { until, .. } => return Err(Requeued::Handled { until }),
            KeyState::Free | KeyState::Expired { .. } | KeyState::Dead { .. } => {}
        }
        match letter.requeued_at {
            Some(at) if !force => Err(Requeued::Already { at: moment(at), by: None }),
            _ => Ok(letter),
        }
    }

    /// One that nobody has requeued.
    fn dead_letter(&self) -> Option<LetterSeen> {
        self.letter.filter(|letter| letter.requeued_at.is_none())
    }
}

impl KeyState {
    /// What it was, for the audit.
    pub(in crate::inbox::store) fn detail(&self) -> String {
        match self {
            Self::Free => "failed attempts".into(),
            Self::Expired { .. } => "a claim that was over".into(),
            Self::Leased(lease) => format!("leased by {}, token {}", lease.owner, lease.token),
            Self::Handled { .. } => "handled".into(),
            Self::Dead { .. } => "a dead letter".into(),
            Self::InTransaction => "in a transaction".into(),
        }
    }
}

/// How a letter was before it was requeued, for the audit.
pub(in crate::inbox::store) const fn requeue_detail(letter: LetterSeen) -> &'static str {
    match letter.requeued_at {
        None => "a dead letter",
        Some(_) => "requeued before",
    }
}

/// When a message was handled, counted back from the end of its claim.
pub(in crate::inbox::store) fn handled_at(until: i64, window: i64, now: i64) -> Option<SystemTime> {
    let at = until - window;
    // Up to two seconds are rounding.
    (at <= now + 2).then(|| moment(at.min(now)))
}

/// A moment out of seconds since 2020-01-01 00:00:00 UTC.
pub(in crate::inbox::store) fn moment(seconds: i64) -> SystemTime {
    let unix = u64::try_from(seconds + EPOCH_S).unwrap_or(0);
    UNIX_EPOCH + Duration::from_secs(unix)
}

/// 2020-01-01 00:00:00 UTC in Unix seconds.
const EPOCH_S: i64 = 1_577_836_800;
