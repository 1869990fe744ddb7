use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    Outcome,
    admit::{Admission, Settle},
};
use crate::{error::BoxError, hook::BoxFuture};

pin_project! {
    /// Resolves to the [`Outcome`] of one delivery.
    ///
    /// # Cancellation
    ///
    /// Safe to drop at any time. In transactional mode the claim and the handler's writes are rolled
    /// back; if the commit was under way it may have taken effect, and a redelivery is then a
    /// duplicate. In leased mode the claim stays until its lease runs out.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, R>
    where
        S: Service<R>,
    {
        #[pin]
        state: State<S, R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, R>
    where
        S: Service<R>,
    {
        Admitting {
            admitting: BoxFuture<'static, Result<Admission<R>, BoxError>>,
            inner: S,
        },
        Handling {
            #[pin]
            handling: S::Future,
            settle: Option<Settle>,
        },
        Settling {
            settling: BoxFuture<'static, Result<(), BoxError>>,
            handled: Option<Result<S::Response, BoxError>>,
        },
        Done,
    }
}

impl<S: Service<R>, R> ResponseFuture<S, R> {
    pub(super) fn new(
        admitting: BoxFuture<'static, Result<Admission<R>, BoxError>>,
        inner: S,
    ) -> Self {
        Self { state: State::Admitting { admitting, inner } }
    }
}

impl<S, R> Future for ResponseFuture<S, R>
where
    S: Service<R>,
    S::Error: Into<BoxError>,
{
    type Output = Result<Outcome<S::Response>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Admitting { admitting, inner } => {
                    match ready!(admitting.as_mut().poll(cx)) {
                        Ok(Admission::Handle(request, settle)) => {
                            let handling = inner.call(request);
                            state.set(State::Handling { handling, settle: Some(settle) });
                        }
                        Ok(Admission::Duplicate) => {
                            state.set(State::Done);
                            return Poll::Ready(Ok(Outcome::Duplicate));
                        }
                        Err(error) => {
                            state.set(State::Done);
                            return Poll::Ready(Err(error));
                        }
                    }
                }
                StateProj::Handling { handling, settle } => {
                    let handled = ready!(handling.poll(cx)).map_err(Into::into);
                    let settle = settle.take().expect("the handler finishes once");
                    // The handler's future goes first: a transaction that it still holds comes home.
                    state.set(State::Done);
                    let settling = settle(handled.is_ok());
                    state.set(State::Settling { settling, handled: Some(handled) });
                }
                StateProj::Settling { settling, handled } => {
                    let settled = ready!(settling.as_mut().poll(cx));
                    let handled = handled.take().expect("a delivery ends once");
                    state.set(State::Done);
                    // The handler's own error is the news; a failed rollback or release follows
                    // from the same cause and mends itself.
                    return Poll::Ready(match (handled, settled) {
                        (Err(error), _) | (Ok(_), Err(error)) => Err(error),
                        (Ok(response), Ok(())) => Ok(Outcome::Handled(response)),
                    });
                }
                StateProj::Done => panic!("`ResponseFuture` polled after completion"),
            }
        }
    }
}

impl<S: Service<R>, R> fmt::Debug for ResponseFuture<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
