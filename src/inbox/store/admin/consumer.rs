use std::time::Duration;

use crate::key::InboxKey;

/// A consumer and its claims.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerSummary {
    /// Its name.
    pub name: String,
    /// How long its messages are recognised.
    pub window: Duration,
    /// The key that its way of making keys gives to [`key::probe`](crate::key::probe).
    pub key_probe: InboxKey,
    /// Handled within the window.
    pub live: u64,
    /// Being handled under a lease.
    pub in_flight: u64,
    /// Claims that are over, and not swept yet.
    pub expired: u64,
    /// Dead letters that nobody has requeued.
    pub dead_letters: u64,
    /// Dead letters that were requeued, and are not handled yet.
    pub requeued: u64,
}

impl ConsumerSummary {
    /// Describes a consumer without claims; for stores.
    pub fn new(name: impl Into<String>, window: Duration, key_probe: InboxKey) -> Self {
        Self {
            name: name.into(),
            window,
            key_probe,
            live: 0,
            in_flight: 0,
            expired: 0,
            dead_letters: 0,
            requeued: 0,
        }
    }
}
