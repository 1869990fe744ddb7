use std::{num::NonZeroUsize, sync::Arc};

use tokio::sync::mpsc;
use tower_service::Service;

use super::{GroupDriver, GroupInbox, work::Work};
use crate::{
    error::BoxError,
    inbox::{InTransaction, InboxLayer, Received, store::GroupStore},
};

impl<St: GroupStore + 'static, K: Clone> InboxLayer<St, K, InTransaction> {
    /// Handles messages that arrive at the same time in one transaction, one after the other, and
    /// commits them together: for stores whose one writer waits for the disk at every commit. SQLite
    /// only.
    ///
    /// The service takes single messages, as [`Inbox`](crate::inbox::Inbox) does, and each has its own
    /// outcome, kept apart by savepoints: one that fails is undone, and its claim with it, while the
    /// others commit. The driver does the work; spawn it, or nothing happens. It ends when the service
    /// and its clones are gone.
    ///
    /// ```
    /// use sqlx::SqliteConnection;
    /// use tower::ServiceExt;
    /// use tower_inbox::{BoxError, InboxLayer, Outcome, inbox::{Received, SqliteStore}};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// # let store = SqliteStore::in_memory().await?;
    /// # store.schema().up().await?;
    /// let book = tower::service_fn(async |received: Received<u64, SqliteConnection>| {
    ///     Ok::<_, BoxError>(received.message * 2)
    /// });
    /// let layer = InboxLayer::new("billing", store).dedup_by(|id: &u64| *id);
    /// let (inbox, driver) = layer.grouped(book);
    /// tokio::spawn(driver);
    ///
    /// let (first, second) = tokio::join!(inbox.clone().oneshot(1), inbox.clone().oneshot(2));
    /// assert_eq!((first?, second?), (Outcome::Handled(2), Outcome::Handled(4)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # When it pays
    ///
    /// With a file that syncs at every commit (`synchronous = full`, as
    /// [`SqliteStore::open`](crate::inbox::SqliteStore::open) has it), and eight or more messages at a
    /// time: some five times as many a second. One at a time gains nothing. A group is whatever has
    /// arrived while the one before was handled, at most [64](GroupDriver::at_most); nobody waits for
    /// company.
    ///
    /// # A slow handler
    ///
    /// holds up the others of its group, as it does with SQLite's one writer anyway, and their commit
    /// too. Dropping the future of a call, as a timeout does, ends its handler, undoes what it did, and
    /// lets the others go on. A panic in a handler is resumed in the task that called it.
    ///
    /// # A transaction that breaks
    ///
    /// A handler that keeps its transaction, or ends it with SQL of its own, and a disk that is full
    /// take the whole group along: all its calls fail, and their redeliveries find out.
    pub fn grouped<M, S>(
        &self,
        inner: S,
    ) -> (GroupInbox<M, S::Response, K, St::Connection>, GroupDriver)
    where
        M: Send + 'static,
        S: Service<Received<M, St::Connection>> + Clone + Send + 'static,
        S::Response: Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
    {
        let (jobs, queue) = mpsc::unbounded_channel();
        let config = Arc::new(self.config.clone());
        let work = Work::new(Arc::clone(&self.store), Arc::clone(&config), inner, self.mode.wait);
        let inbox = GroupInbox::new(config, self.source.clone(), jobs);
        (inbox, GroupDriver::new(work, queue, LIMIT))
    }
}

// Beyond it the sync is a small part of what a message costs, and the first of a group waits for the
// last.
const LIMIT: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");
