use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::{mpsc, oneshot};
use tower_service::Service;

use super::{
    DriverGone, GroupFuture,
    item::{Caller, Job},
};
use crate::{
    error::BoxError,
    inbox::{KeySource, Outcome, admit::Marks, config::Config, span},
    telemetry::Timing,
};

/// Hands each message to the driver of its group; made by
/// [`InboxLayer::grouped`](crate::inbox::InboxLayer::grouped). Clones share the driver.
///
/// Always ready while the driver is there. Calls that wait are kept in memory: a
/// `ServiceBuilder::concurrency_limit` around it bounds how many.
///
/// # Errors
///
/// As [`InboxLayer`](crate::inbox::InboxLayer), and [`DriverGone`].
pub struct GroupInbox<M, R, K, C> {
    config: Arc<Config<C>>,
    source: K,
    jobs: mpsc::UnboundedSender<Job<M, R>>,
}

impl<M, R, K, C> GroupInbox<M, R, K, C> {
    pub(super) const fn new(
        config: Arc<Config<C>>,
        source: K,
        jobs: mpsc::UnboundedSender<Job<M, R>>,
    ) -> Self {
        Self { config, source, jobs }
    }
}

impl<M, R, K: KeySource<M>, C> Service<M> for GroupInbox<M, R, K, C> {
    type Response = Outcome<R>;
    type Error = BoxError;
    type Future = GroupFuture<R>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(if self.jobs.is_closed() { Err(DriverGone::new().into()) } else { Ok(()) })
    }

    fn call(&mut self, message: M) -> GroupFuture<R> {
        let marks = Marks::of(&message, &self.source, &self.config);
        let (reply, answer) = oneshot::channel();
        let consumer = &self.config.consumer;
        let (span, timing) = (span::deliver(consumer), Timing::start(consumer));
        let caller = Caller { reply, span, timing };
        // Without a driver the reply is dropped with the job, which is the answer.
        let _ = self.jobs.send(Job { message, marks, caller });
        GroupFuture::new(answer)
    }
}

impl<M, R, K: Clone, C> Clone for GroupInbox<M, R, K, C> {
    fn clone(&self) -> Self {
        let Self { config, source, jobs } = self;
        Self { config: Arc::clone(config), source: source.clone(), jobs: jobs.clone() }
    }
}

impl<M, R, K, C> fmt::Debug for GroupInbox<M, R, K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupInbox")
            .field("consumer", &self.config.consumer)
            .finish_non_exhaustive()
    }
}
