use std::{
    fmt,
    num::NonZeroUsize,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::sync::mpsc;
use tower_service::Service;

use super::{item::Job, work::Work};
use crate::{
    error::BoxError,
    hook::BoxFuture,
    inbox::{Received, store::GroupStore},
};

/// Handles what is sent by a [`GroupInbox`](super::GroupInbox) and its clones, and ends when they are
/// gone; made by [`InboxLayer::grouped`](crate::inbox::InboxLayer::grouped).
///
/// # Cancellation
///
/// Dropping it rolls the group at hand back, unless its commit was under way, and fails all calls that
/// wait with [`DriverGone`](super::DriverGone).
#[must_use = "messages are handled only while the driver is polled"]
pub struct GroupDriver {
    limit: Arc<AtomicUsize>,
    driving: BoxFuture<'static, ()>,
}

impl GroupDriver {
    pub(super) fn new<M, S, St>(
        mut work: Work<M, St, S>,
        mut queue: mpsc::UnboundedReceiver<Job<M, S::Response>>,
        limit: NonZeroUsize,
    ) -> Self
    where
        M: Send + 'static,
        St: GroupStore + 'static,
        S: Service<Received<M, St::Connection>> + Clone + Send + 'static,
        S::Response: Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
    {
        let limit = Arc::new(AtomicUsize::new(limit.get()));
        let driving = {
            let limit = Arc::clone(&limit);
            Box::pin(async move {
                let mut jobs = Vec::new();
                while queue.recv_many(&mut jobs, limit.load(Ordering::Relaxed)).await > 0 {
                    work.handle(std::mem::take(&mut jobs)).await;
                }
            })
        };
        Self { limit, driving }
    }

    /// Sets how many messages are committed together at most. Defaults to 64.
    ///
    /// # Panics
    ///
    /// If it is 0.
    #[track_caller]
    pub fn at_most(self, messages: usize) -> Self {
        assert!(messages > 0, "a group of no messages handles none");
        self.limit.store(messages, Ordering::Relaxed);
        self
    }
}

impl Future for GroupDriver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.driving.as_mut().poll(cx)
    }
}

impl fmt::Debug for GroupDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupDriver").field("limit", &self.limit).finish_non_exhaustive()
    }
}
