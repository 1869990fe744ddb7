use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{AuditEntry, LetterSummary};
use crate::{
    inbox::store::Attempts,
    key::{Fingerprint, InboxKey},
};

/// What is known of one message, and why its next delivery would be handled or not.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Explanation {
    /// For which consumer.
    pub consumer: Arc<str>,
    /// Which message.
    pub key: InboxKey,
    /// How long the consumer recognises a message now.
    pub window: Duration,
    /// The key that the consumer's way of making keys gives to [`key::probe`](crate::key::probe): with
    /// another way, this is another message's key.
    pub key_probe: InboxKey,
    /// What a delivery would find.
    pub state: KeyState,
    /// Leases that were given out and not completed since the message was handled the last time.
    pub leases: u32,
    /// Attempts that failed or died, if anybody counts them.
    pub attempts: Option<FailedAttempts>,
    /// The dead letter, requeued or not.
    pub letter: Option<LetterSummary>,
    /// What is kept beside the claim.
    pub record: Option<RecordSummary>,
    /// What people did to it by hand, the newest first, at most twenty.
    pub audit: Vec<AuditEntry>,
}

impl Explanation {
    /// Explains a message of which nothing is known but its state; for stores.
    pub const fn new(
        consumer: Arc<str>,
        key: InboxKey,
        window: Duration,
        key_probe: InboxKey,
        state: KeyState,
    ) -> Self {
        Self {
            consumer,
            key,
            window,
            key_probe,
            state,
            leases: 0,
            attempts: None,
            letter: None,
            record: None,
            audit: Vec::new(),
        }
    }
}

/// What a delivery of a message would find.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyState {
    /// There is no claim: it was never handled, or so long ago that the claim was swept, or somebody
    /// made the inbox forget it. The next delivery is handled.
    Free,
    /// The window of an earlier claim is over. The next delivery is handled.
    Expired {
        /// When it ended.
        until: SystemTime,
    },
    /// A transaction is at work on it at this moment. Stores that cannot see that of other
    /// processes, such as SQLite, say [`Free`](Self::Free).
    InTransaction,
    /// Somebody has leased it. The next delivery is in flight.
    Leased(LeaseSummary),
    /// It was handled. The next delivery is a duplicate.
    Handled {
        /// When, counted back from the end of the claim by the window that the consumer has now;
        /// `None` where that is not in the past, because the window was changed.
        at: Option<SystemTime>,
        /// Until when it is recognised.
        until: SystemTime,
    },
    /// It failed too often, and is among the dead letters. The next delivery is answered with that.
    Dead {
        /// Until when it is recognised.
        until: SystemTime,
    },
}

impl KeyState {
    /// Whether the next delivery is handled.
    pub const fn is_free(&self) -> bool {
        matches!(self, Self::Free | Self::Expired { .. })
    }
}

/// A lease that somebody holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseSummary {
    /// Who.
    pub owner: String,
    /// Until when, unless it is extended.
    pub until: SystemTime,
    /// The fencing token.
    pub token: i64,
    /// How many times this message was leased without being completed, this one included.
    pub attempt: u32,
}

impl LeaseSummary {
    /// Describes a lease; for stores.
    pub const fn new(owner: String, until: SystemTime, token: i64, attempt: u32) -> Self {
        Self { owner, until, token, attempt }
    }
}

/// Attempts at a message that is not handled.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedAttempts {
    /// How many.
    pub attempts: Attempts,
    /// When the first one began.
    pub first_at: SystemTime,
    /// When the last one began or ended.
    pub last_at: SystemTime,
    /// What the last one that came back said.
    pub last_error: Option<String>,
}

impl FailedAttempts {
    /// Describes attempts; for stores.
    pub const fn new(
        attempts: Attempts,
        first_at: SystemTime,
        last_at: SystemTime,
        last_error: Option<String>,
    ) -> Self {
        Self { attempts, first_at, last_at, last_error }
    }
}

/// What is kept beside a claim, without what people should not see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordSummary {
    /// The fingerprint of the message that was handled.
    pub fingerprint: Option<Fingerprint>,
    /// The size of the response, in bytes.
    pub response_bytes: Option<u64>,
}

impl RecordSummary {
    /// Describes a record; for stores.
    pub const fn new(fingerprint: Option<Fingerprint>, response_bytes: Option<u64>) -> Self {
        Self { fingerprint, response_bytes }
    }
}
