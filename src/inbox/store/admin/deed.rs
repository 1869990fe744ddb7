use std::{sync::Arc, time::SystemTime};

use super::{KeyState, LeaseSummary, LetterSummary};
use crate::key::InboxKey;

/// What somebody does to one message by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Intervention {
    /// Of which consumer.
    pub consumer: Arc<str>,
    /// To which message.
    pub key: InboxKey,
    /// Who, for the audit.
    pub actor: Arc<str>,
    /// Does it in spite of what speaks against it. Not by default.
    pub force: bool,
    /// Does everything and rolls it back. Not by default.
    pub dry_run: bool,
}

impl Intervention {
    /// Names consumer, message and who does it.
    pub fn new(consumer: impl Into<Arc<str>>, key: InboxKey, actor: impl Into<Arc<str>>) -> Self {
        let (consumer, actor) = (consumer.into(), actor.into());
        Self { consumer, key, actor, force: false, dry_run: false }
    }

    /// Sets whether to do it in spite of what speaks against it. Defaults to `false`.
    #[must_use]
    pub fn force(self, force: bool) -> Self {
        Self { force, ..self }
    }

    /// Sets whether to roll everything back. Defaults to `false`.
    #[must_use]
    pub fn dry_run(self, dry_run: bool) -> Self {
        Self { dry_run, ..self }
    }
}

/// What came of forgetting a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Forgotten {
    /// It is gone; this is what it was.
    Done(KeyState),
    /// There was nothing to forget.
    NotThere,
    /// A transaction is at work on it. Nothing was done, by force neither.
    InTransaction,
    /// Somebody has leased it. Nothing was done; by force it would be, and the completion of that
    /// lease would be refused.
    Leased(LeaseSummary),
    /// It is a dead letter. Nothing was done; [requeue](super::InboxAdmin::requeue) it.
    DeadLetter,
}

/// What came of requeuing a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Requeued {
    /// The next delivery is handled.
    Done {
        /// Whether the letter has a payload to be delivered again from here. Else only the broker,
        /// or whoever sent the message, can deliver it.
        payload: bool,
    },
    /// There is no such letter: the message never died, is handled by now, or the letter was
    /// discarded.
    NotThere,
    /// It was requeued before, and is not handled yet. Nothing was done; by force it would be.
    Already {
        /// When.
        at: SystemTime,
        /// By whom, if the audit still knows.
        by: Option<String>,
    },
    /// The message has been handled since it died, or since it was requeued. Nothing was done.
    Handled {
        /// Until when it is recognised.
        until: SystemTime,
    },
    /// A delivery is at work on it. Nothing was done.
    InFlight,
}

/// What came of discarding a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Discarded {
    /// It is gone; this is what it was.
    Done(Box<LetterSummary>),
    /// There is no such letter.
    NotThere,
}
