use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;
use tracing::Span;

use super::{
    admit::{Admission, Settle, Verdict},
    ending::{Ending, Plain},
    error::from_handler,
};
use crate::{error::BoxError, hook::BoxFuture, telemetry::Timing};

pin_project! {
    /// Resolves to what became of one delivery: an [`Outcome`](super::Outcome), or a
    /// [`Replay`](super::replay::Replay) where responses are kept.
    ///
    /// # Cancellation
    ///
    /// Safe to drop at any time. In transactional mode the claim and the handler's writes are rolled
    /// back; if the commit was under way it may have taken effect, and a redelivery is then a
    /// duplicate. In leased mode the claim stays until its lease runs out.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, R, E = Plain>
    where
        S: Service<R>,
    {
        #[pin]
        state: State<S, R>,
        ending: E,
        timing: Timing,
        span: Span,
    }

    impl<S, R, E> PinnedDrop for ResponseFuture<S, R, E>
    where
        S: Service<R>,
    {
        /// A handler that is given up says goodbye in the span that it worked in.
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            let _entered = this.span.enter();
            let mut state = this.state;
            state.set(State::Done);
        }
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
            handled: Option<S::Response>,
        },
        Done,
    }
}

impl<S: Service<R>, R, E> ResponseFuture<S, R, E> {
    pub(super) fn new(
        admitting: BoxFuture<'static, Result<Admission<R>, BoxError>>,
        inner: S,
        ending: E,
        consumer: &Arc<str>,
        span: Span,
    ) -> Self {
        let timing = Timing::start(consumer);
        Self { state: State::Admitting { admitting, inner }, ending, timing, span }
    }
}

impl<S, R, E> Future for ResponseFuture<S, R, E>
where
    S: Service<R>,
    S::Error: Into<BoxError>,
    E: Ending<S::Response>,
{
    type Output = Result<E::Output, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let _entered = this.span.enter();
        let (mut state, ending, timing) = (this.state, this.ending, this.timing);
        loop {
            match state.as_mut().project() {
                StateProj::Admitting { admitting, inner } => {
                    let admitted = ready!(admitting.as_mut().poll(cx));
                    timing.claimed();
                    match admitted {
                        Ok(Admission::Handle(request, settle)) => {
                            let handling = inner.call(request);
                            state.set(State::Handling { handling, settle: Some(settle) });
                        }
                        Ok(Admission::Duplicate(record)) => {
                            state.set(State::Done);
                            return Poll::Ready(ending.duplicate(record));
                        }
                        Err(error) => {
                            state.set(State::Done);
                            return Poll::Ready(Err(error));
                        }
                    }
                }
                StateProj::Handling { handling, settle } => {
                    let handled = ready!(handling.poll(cx)).map_err(from_handler);
                    timing.handled();
                    let settle = settle.take().expect("the handler finishes once");
                    // The handler's future goes first: a transaction that it still holds comes home.
                    state.set(State::Done);
                    let (verdict, handled) = match handled {
                        Ok(response) => (Verdict::Handled(ending.keep(&response)), Some(response)),
                        Err(error) => (Verdict::Failed(error), None),
                    };
                    state.set(State::Settling { settling: settle(verdict), handled });
                }
                StateProj::Settling { settling, handled } => {
                    let settled = ready!(settling.as_mut().poll(cx));
                    timing.settled();
                    let handled = handled.take();
                    state.set(State::Done);
                    return Poll::Ready(settled.map(|()| {
                        let response = handled.expect("a verdict of failure settles as an error");
                        ending.handled(response)
                    }));
                }
                StateProj::Done => panic!("`ResponseFuture` polled after completion"),
            }
        }
    }
}

impl<S: Service<R>, R, E> fmt::Debug for ResponseFuture<S, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
