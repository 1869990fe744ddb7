use std::{fmt, sync::Arc, time::SystemTime};

use crate::{inbox::store::Attempts, key::InboxKey};

/// Which dead letters are asked for; all by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LetterFilter {
    /// Of which consumer.
    pub consumer: Option<Arc<str>>,
    /// In which state.
    pub state: Option<LetterState>,
}

impl LetterFilter {
    /// Asks for those of one consumer.
    #[must_use]
    pub fn consumer(self, consumer: impl Into<Arc<str>>) -> Self {
        Self { consumer: Some(consumer.into()), ..self }
    }

    /// Asks for those in one state.
    #[must_use]
    pub fn state(self, state: LetterState) -> Self {
        Self { state: Some(state), ..self }
    }
}

/// What is to become of a dead letter; complete by nature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LetterState {
    /// Nobody has decided yet.
    Dead,
    /// Somebody let its message through again, and it is not handled yet.
    Requeued,
}

/// A dead letter without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LetterSummary {
    /// Of which consumer.
    pub consumer: Arc<str>,
    /// Of which message.
    pub key: InboxKey,
    /// How often it was tried before it died the last time.
    pub attempts: Attempts,
    /// When the first of these attempts began.
    pub first_at: SystemTime,
    /// When it died the last time.
    pub died_at: SystemTime,
    /// How often it died: once more than it came back from a requeue.
    pub deaths: u32,
    /// When it was requeued, if it was.
    pub requeued_at: Option<SystemTime>,
    /// Why it died, for people.
    pub reason: String,
    /// The size of the payload, in bytes; `None` where the layer kept none.
    pub payload_bytes: Option<u64>,
}

impl LetterSummary {
    /// Describes a letter that died once, was not requeued and has no payload; for stores.
    pub const fn new(
        consumer: Arc<str>,
        key: InboxKey,
        attempts: Attempts,
        died_at: SystemTime,
        reason: String,
    ) -> Self {
        Self {
            consumer,
            key,
            attempts,
            first_at: died_at,
            died_at,
            deaths: 1,
            requeued_at: None,
            reason,
            payload_bytes: None,
        }
    }

    /// Whether it was requeued.
    pub const fn state(&self) -> LetterState {
        match self.requeued_at {
            None => LetterState::Dead,
            Some(_) => LetterState::Requeued,
        }
    }
}

/// A dead letter with its payload.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// What is known of it.
    pub summary: LetterSummary,
    /// The message as the layer wrote it down, if it did.
    pub payload: Option<Vec<u8>>,
}

impl DeadLetter {
    /// Puts both together; for stores.
    pub const fn new(summary: LetterSummary, payload: Option<Vec<u8>>) -> Self {
        Self { summary, payload }
    }
}

impl fmt::Debug for DeadLetter {
    /// Payloads may hold what does not belong into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter").field("summary", &self.summary).finish_non_exhaustive()
    }
}
