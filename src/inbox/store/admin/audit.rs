use std::{sync::Arc, time::SystemTime};

use crate::key::InboxKey;

/// Which entries of the audit are asked for; all by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AuditFilter {
    /// About which consumer.
    pub consumer: Option<Arc<str>>,
    /// About which message.
    pub key: Option<InboxKey>,
}

impl AuditFilter {
    /// Asks for those about one consumer.
    #[must_use]
    pub fn consumer(self, consumer: impl Into<Arc<str>>) -> Self {
        Self { consumer: Some(consumer.into()), ..self }
    }

    /// Asks for those about one message.
    #[must_use]
    pub fn key(self, key: InboxKey) -> Self {
        Self { key: Some(key), ..self }
    }
}

/// What somebody did by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditEntry {
    /// Its number; a later one has a larger one.
    pub number: i64,
    /// When.
    pub at: SystemTime,
    /// Who, as they said.
    pub actor: String,
    /// What: `forget`, `requeue` or `discard`; later releases may add others.
    pub action: String,
    /// To which consumer, by the name it had.
    pub consumer: String,
    /// To which message.
    pub key: Option<InboxKey>,
    /// How it was before, for people.
    pub detail: Option<String>,
}

impl AuditEntry {
    /// Describes a deed without a message and a detail; for stores.
    pub const fn new(
        number: i64,
        at: SystemTime,
        actor: String,
        action: String,
        consumer: String,
    ) -> Self {
        Self { number, at, actor, action, consumer, key: None, detail: None }
    }
}
