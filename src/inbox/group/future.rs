use std::{
    error::Error,
    fmt,
    panic::resume_unwind,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use super::item::Answer;
use crate::{error::BoxError, inbox::Outcome};

/// Resolves to the [`Outcome`] of one message of a group.
///
/// # Cancellation
///
/// Safe to drop at any time. A handler that has not begun will not, and one that is at work is dropped,
/// and what it wrote undone. If it had finished, its group commits with it.
///
/// # Panics
///
/// With the panic of the handler.
#[must_use = "futures do nothing unless polled"]
pub struct GroupFuture<R>(oneshot::Receiver<Answer<R>>);

impl<R> GroupFuture<R> {
    pub(super) const fn new(answer: oneshot::Receiver<Answer<R>>) -> Self {
        Self(answer)
    }
}

impl<R> Future for GroupFuture<R> {
    type Output = Result<Outcome<R>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answer| match answer {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => Err(DriverGone::new().into()),
        })
    }
}

impl<R> fmt::Debug for GroupFuture<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupFuture").finish_non_exhaustive()
    }
}

/// The driver of a group was dropped, or never spawned and then dropped: the message was not handled,
/// or its commit was under way. A redelivery finds out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DriverGone {}

impl DriverGone {
    pub(crate) const fn new() -> Self {
        Self {}
    }
}

impl fmt::Display for DriverGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the driver that handles messages in groups is gone")
    }
}

impl Error for DriverGone {}
