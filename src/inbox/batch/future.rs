use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use tracing::Span;

use crate::{error::BoxError, hook::BoxFuture, inbox::Outcome};

/// Resolves to what became of each message of a batch, in the order of the batch.
///
/// # Cancellation
///
/// Safe to drop at any time. The claims and the handler's writes of the transaction that is open are
/// rolled back; if its commit was under way, it may have taken effect, and redeliveries are then
/// duplicates. What was committed before stands: the parts of a large batch, and the messages of one
/// that failed and is being handled one by one.
#[must_use = "futures do nothing unless polled"]
pub struct BatchFuture {
    batch: BoxFuture<'static, Output>,
    span: Span,
}

type Output = Result<Vec<Result<Outcome<()>, BoxError>>, BoxError>;

impl BatchFuture {
    pub(super) fn new(batch: impl Future<Output = Output> + Send + 'static, span: Span) -> Self {
        Self { batch: Box::pin(batch), span }
    }
}

impl Future for BatchFuture {
    type Output = Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output> {
        let Self { batch, span } = &mut *self;
        let _entered = span.enter();
        batch.as_mut().poll(cx)
    }
}

impl fmt::Debug for BatchFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchFuture").finish_non_exhaustive()
    }
}
