use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use tower_service::Service;

use super::{
    KeySource, Outcome, ResponseFuture,
    admit::{Ask, InTransaction, Marks, Mode},
    config::Config,
    ending::{Ending, Plain},
    key_source::Derived,
    span,
    store::InboxStore,
};
use crate::error::BoxError;

/// Claims each message before the inner service sees it; made by
/// [`InboxLayer`](super::InboxLayer).
///
/// `poll_ready` forwards to the inner service and takes no connection.
pub struct Inbox<S, St: InboxStore, K = Derived, X = InTransaction> {
    pub(super) inner: S,
    pub(super) store: Arc<St>,
    pub(super) config: Arc<Config<St::Connection>>,
    pub(super) source: K,
    pub(super) mode: X,
}

impl<S, St: InboxStore, K, X> Inbox<S, St, K, X> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, mutably.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service, taken out.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, St: InboxStore, K, X> Inbox<S, St, K, X> {
    /// Starts a delivery, whichever way its end is told.
    pub(super) fn deliver<M, E>(
        &mut self,
        message: M,
        ending: E,
    ) -> ResponseFuture<S, X::Request, E>
    where
        K: KeySource<M>,
        X: Mode<M, St>,
        S: Service<X::Request> + Clone,
        E: Ending<S::Response>,
    {
        // The service that was polled ready is the one that is called; the clone stays behind and
        // has to be polled first.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        let ask = Ask {
            marks: Marks::of(&message, &self.source, &self.config),
            message,
            config: Arc::clone(&self.config),
            store: Arc::clone(&self.store),
        };
        let consumer = &self.config.consumer;
        let span = span::deliver(consumer);
        ResponseFuture::new(self.mode.admit(ask), inner, ending, consumer, span)
    }
}

impl<M, S, St, K, X> Service<M> for Inbox<S, St, K, X>
where
    St: InboxStore,
    K: KeySource<M>,
    X: Mode<M, St>,
    S: Service<X::Request> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = Outcome<S::Response>;
    type Error = BoxError;
    type Future = ResponseFuture<S, X::Request>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, message: M) -> Self::Future {
        self.deliver(message, Plain::default())
    }
}

impl<S: Clone, St: InboxStore, K: Clone, X: Clone> Clone for Inbox<S, St, K, X> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            store: Arc::clone(&self.store),
            config: Arc::clone(&self.config),
            source: self.source.clone(),
            mode: self.mode.clone(),
        }
    }
}

impl<S: fmt::Debug, St: InboxStore, K, X: fmt::Debug> fmt::Debug for Inbox<S, St, K, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("inner", &self.inner)
            .field("consumer", &self.config.consumer)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}
