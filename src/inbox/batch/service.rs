use std::{
    fmt,
    num::NonZeroUsize,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tower_service::Service;

use super::{BatchFuture, work::Work};
use crate::{
    error::BoxError,
    inbox::{
        Derived, KeySource, Outcome, Received,
        admit::Marks,
        config::Config,
        handlers::Handlers,
        span,
        store::{BatchStore, InboxStore},
    },
};

/// Claims the messages of a batch before the inner service sees them; made by
/// [`BatchInboxLayer`](super::BatchInboxLayer).
///
/// `poll_ready` forwards to the inner service and takes no connection.
pub struct BatchInbox<S, St: InboxStore, K = Derived> {
    pub(super) inner: S,
    pub(super) store: Arc<St>,
    pub(super) config: Arc<Config<St::Connection>>,
    pub(super) source: K,
    pub(super) wait: Duration,
    pub(super) limit: NonZeroUsize,
}

impl<S, St: InboxStore, K> BatchInbox<S, St, K> {
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

impl<M, S, St, K> Service<Vec<M>> for BatchInbox<S, St, K>
where
    M: Clone + Send + 'static,
    St: BatchStore + 'static,
    K: KeySource<M>,
    S: Service<Received<Vec<M>, St::Connection>, Response = ()> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
{
    type Response = Vec<Result<Outcome<()>, BoxError>>;
    type Error = BoxError;
    type Future = BatchFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, messages: Vec<M>) -> Self::Future {
        // The service that was polled ready is the one that is called; the clones have to be polled
        // first.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        let marks =
            messages.iter().map(|message| Marks::of(message, &self.source, &self.config)).collect();
        let span = span::deliver_batch(&self.config.consumer, messages.len());
        let work = Work::new(
            Arc::clone(&self.store),
            Arc::clone(&self.config),
            messages,
            Handlers::new(ready, self.inner.clone()),
            self.wait,
        );
        let limit = self.limit;
        BatchFuture::new(async move { Ok(work.run(marks, limit).await) }, span)
    }
}

impl<S: Clone, St: InboxStore, K: Clone> Clone for BatchInbox<S, St, K> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            store: Arc::clone(&self.store),
            config: Arc::clone(&self.config),
            source: self.source.clone(),
            wait: self.wait,
            limit: self.limit,
        }
    }
}

impl<S: fmt::Debug, St: InboxStore, K> fmt::Debug for BatchInbox<S, St, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchInbox")
            .field("inner", &self.inner)
            .field("consumer", &self.config.consumer)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
