use std::{
    fmt,
    task::{Context, Poll},
};

use tower_service::Service;

use super::{Codec, Replay, ending::Replaying};
use crate::{
    error::BoxError,
    inbox::{Inbox, KeySource, Mode, ResponseFuture, store::InboxStore},
};

/// Claims each message before the inner service sees it, and keeps its response; made by
/// [`ReplayLayer`](super::ReplayLayer).
pub struct ReplayInbox<S, St: InboxStore, K, X, Co> {
    pub(super) inbox: Inbox<S, St, K, X>,
    pub(super) replaying: Replaying<Co>,
}

impl<S, St: InboxStore, K, X, Co> ReplayInbox<S, St, K, X, Co> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        self.inbox.get_ref()
    }

    /// The inner service, mutably.
    pub fn get_mut(&mut self) -> &mut S {
        self.inbox.get_mut()
    }

    /// The inner service, taken out.
    pub fn into_inner(self) -> S {
        self.inbox.into_inner()
    }
}

impl<M, S, St, K, X, Co> Service<M> for ReplayInbox<S, St, K, X, Co>
where
    St: InboxStore,
    K: KeySource<M>,
    X: Mode<M, St>,
    S: Service<X::Request> + Clone,
    S::Error: Into<BoxError>,
    Co: Codec<S::Response> + Clone,
{
    type Response = Replay<S::Response>;
    type Error = BoxError;
    type Future = ResponseFuture<S, X::Request, Replaying<Co>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inbox.poll_ready(cx)
    }

    fn call(&mut self, message: M) -> Self::Future {
        self.inbox.deliver(message, self.replaying.clone())
    }
}

impl<S: Clone, St: InboxStore, K: Clone, X: Clone, Co: Clone> Clone
    for ReplayInbox<S, St, K, X, Co>
{
    fn clone(&self) -> Self {
        Self { inbox: self.inbox.clone(), replaying: self.replaying.clone() }
    }
}

impl<S: fmt::Debug, St: InboxStore, K, X: fmt::Debug, Co> fmt::Debug
    for ReplayInbox<S, St, K, X, Co>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayInbox").field("inbox", &self.inbox).finish_non_exhaustive()
    }
}
