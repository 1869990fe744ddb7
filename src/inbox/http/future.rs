use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project_lite::pin_project;

use super::IdempotencyBody;
use crate::hook::BoxFuture;

pin_project! {
    /// Resolves to the handler's response, the one that was kept, or a problem document.
    ///
    /// # Cancellation
    ///
    /// Safe to drop at any time, which is what a server does when the client goes away. In
    /// transactional mode the claim and the handler's writes are rolled back; if the commit was under
    /// way it may have taken effect, and a retry then gets the response. In leased mode the claim
    /// stays until its lease runs out, and retries are in flight until then.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, R, E> {
        #[pin]
        state: State<F, R, E>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, R, E> {
        Untouched {
            #[pin]
            inner: F,
        },
        Delivering {
            delivering: Delivering<R, E>,
        },
    }
}

/// A delivery under way.
type Delivering<R, E> = BoxFuture<'static, Result<Response<IdempotencyBody<R>>, E>>;

impl<F, R, E> ResponseFuture<F, R, E> {
    pub(super) fn untouched(inner: F) -> Self {
        Self { state: State::Untouched { inner } }
    }

    pub(super) fn delivering(delivering: Delivering<R, E>) -> Self {
        Self { state: State::Delivering { delivering } }
    }
}

impl<F, R, E> Future for ResponseFuture<F, R, E>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<IdempotencyBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Untouched { inner } => {
                let response = ready!(inner.poll(cx));
                Poll::Ready(response.map(|response| response.map(IdempotencyBody::untouched)))
            }
            StateProj::Delivering { delivering } => delivering.as_mut().poll(cx),
        }
    }
}

impl<F, R, E> fmt::Debug for ResponseFuture<F, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
