use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{error::BoxError, hook::BoxFuture, outcome::Outcome};

/// Resolves to what became of one event; see [`DedupLayer`](super::DedupLayer).
#[must_use = "futures do nothing unless polled"]
pub struct DedupFuture<R>(BoxFuture<'static, Result<Outcome<R>, BoxError>>);

impl<R> DedupFuture<R> {
    pub(super) fn new(
        work: impl Future<Output = Result<Outcome<R>, BoxError>> + Send + 'static,
    ) -> Self {
        Self(Box::pin(work))
    }
}

impl<R> Future for DedupFuture<R> {
    type Output = Result<Outcome<R>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<R> fmt::Debug for DedupFuture<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedupFuture").finish_non_exhaustive()
    }
}
