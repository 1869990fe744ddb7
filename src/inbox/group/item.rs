use std::any::Any;

use tokio::sync::oneshot;
use tracing::Span;

use crate::{
    error::BoxError,
    inbox::{
        Outcome,
        admit::{Admission, Case, Marks},
        store::KeyClaimed,
    },
    key::InboxKey,
    telemetry::Timing,
};

/// What a call sends to the driver.
pub(super) struct Job<M, R> {
    pub(super) message: M,
    pub(super) marks: Marks,
    pub(super) caller: Caller<R>,
}

/// Who waits for the answer, and since when.
pub(super) struct Caller<R> {
    pub(super) reply: oneshot::Sender<Answer<R>>,
    pub(super) span: Span,
    pub(super) timing: Timing,
}

/// What the caller gets, or the panic of its handler.
pub(super) type Answer<R> = Result<Result<Outcome<R>, BoxError>, Panic>;

pub(super) type Panic = Box<dyn Any + Send>;

/// A message on its way.
pub(super) struct Item<M, R, C> {
    pub(super) message: M,
    pub(super) delivery: Delivery<R, C>,
}

/// What is left of it when the handler has the message.
pub(super) struct Delivery<R, C> {
    pub(super) case: Case<C>,
    pub(super) caller: Caller<R>,
    /// Whether it is marked as handled together with others.
    pub(super) marked: bool,
}

/// What a message came to before the commit.
pub(super) enum Ran<R> {
    NotWon(KeyClaimed),
    Handled(R),
    /// And whether it was the handler that failed, or what came after.
    Failed {
        error: BoxError,
        succeeded: bool,
    },
    Panicked(Panic),
    /// Nobody waits for it any more.
    Abandoned,
}

impl<R> Caller<R> {
    pub(super) fn tell(self, outcome: Result<Outcome<R>, BoxError>) {
        // One who has left does not mind.
        let _ = self.reply.send(Ok(outcome));
    }

    /// Nothing in here is told to handle a message by its answer.
    pub(super) fn answer(self, answer: Result<Admission<()>, BoxError>) {
        self.tell(answer.map(|_| Outcome::Duplicate));
    }
}

impl<R, C> Delivery<R, C> {
    pub(super) fn key(&self) -> Option<InboxKey> {
        self.case.identity.as_ref().map(|identity| identity.key)
    }
}
