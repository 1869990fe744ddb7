use std::{fmt, num::NonZeroUsize, sync::Arc};

use tower_layer::Layer;

use super::BatchInbox;
use crate::inbox::{
    Derived, InTransaction, InboxLayer,
    store::{BatchStore, InboxStore},
};

/// Makes batches of messages take effect once, each message for itself; made by
/// [`InboxLayer::batched`].
///
/// The inner service gets [`Received<Vec<M>, C>`](crate::inbox::Received): those messages of the
/// batch that are new, in their order, and one transaction that holds the claims of all. The response
/// says of each message of the batch what became of it.
///
/// ```
/// use sqlx::SqliteConnection;
/// use tower::{Service, ServiceBuilder, ServiceExt};
/// use tower_inbox::{BoxError, InboxLayer, Outcome, inbox::{Received, SqliteStore}};
///
/// #[derive(Clone)]
/// struct Payment { id: u64, cents: i64 }
///
/// async fn book(
///     received: Received<Vec<Payment>, SqliteConnection>,
/// ) -> Result<(), sqlx::Error> {
///     let (payments, mut tx) = received.into_parts();
///     for payment in payments {
///         sqlx::query("insert into ledger (cents) values (?)")
///             .bind(payment.cents)
///             .execute(&mut *tx)
///             .await?;
///     }
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_inbox::BoxError> {
/// let store = SqliteStore::in_memory().await?;
/// store.schema().up().await?;
/// # sqlx::query("create table ledger (cents integer)").execute(store.pool()).await?;
///
/// let mut service = ServiceBuilder::new()
///     .layer(InboxLayer::new("ledger", store).dedup_by(|payment: &Payment| payment.id).batched())
///     .service_fn(book);
///
/// let batch = [7, 8, 7].map(|id| Payment { id, cents: 250 }).to_vec();
/// let outcomes = service.ready().await?.call(batch).await?;
/// let outcomes: Vec<_> = outcomes.into_iter().collect::<Result<_, BoxError>>()?;
/// assert_eq!(outcomes, [Outcome::Handled(()), Outcome::Handled(()), Outcome::Duplicate]);
/// # Ok(())
/// # }
/// ```
///
/// # What became of each message
///
/// | | |
/// | --- | --- |
/// | `Ok(Outcome::Handled(()))` | the handler saw it, and what it did is committed |
/// | `Ok(Outcome::Duplicate)` | handled before, or a message of this batch before it is the same and was handled |
/// | `Err` with [`InFlight`](crate::inbox::InFlight) | being handled elsewhere; or a message of this batch before it is the same and was not handled |
/// | `Err` with [`KeyAbsent`](crate::inbox::KeyAbsent) | nothing to recognise it by |
/// | `Err` with anything else | the handler's own error, or the store's |
///
/// Acknowledge what is `Ok`, and nothing else. A broker that acknowledges by position (Kafka) can
/// acknowledge up to the first `Err`; what comes again behind it is then a duplicate.
///
/// The call itself fails only where the inner service is not ready.
///
/// # A handler that fails
///
/// Its transaction is rolled back, and the messages are handled again one by one, each in a
/// transaction and a batch of its own: one message that cannot be handled does not take the others
/// with it. So a handler sees a message at most twice for one batch, and its error of the second time
/// is the message's. The same happens where a [hook](crate::hook::CommitHook) or the commit fails.
///
/// A commit whose outcome is not known, because the connection broke, is not tried again: all its
/// messages fail with [`Unreachable`](crate::error::StoreErrorKind::Unreachable), and their
/// redeliveries find out.
///
/// # Readiness
///
/// The service that was polled ready is the one that is called first. For the calls after that, if
/// there are any, clones of it are made ready, each before its claim.
#[must_use = "a layer does nothing until it wraps a service"]
pub struct BatchInboxLayer<St: InboxStore, K = Derived> {
    layer: InboxLayer<St, K, InTransaction>,
    limit: NonZeroUsize,
}

impl<St: BatchStore, K> InboxLayer<St, K, InTransaction> {
    /// Handles batches: the service takes a `Vec` of messages, and the inner one gets those that are
    /// new, with one transaction. What else was set stays set.
    ///
    /// A batch of a hundred costs about as much as five single messages. Leases have no batches: they
    /// would end for all messages at once, and effects elsewhere do not share a transaction.
    pub fn batched(self) -> BatchInboxLayer<St, K> {
        BatchInboxLayer { layer: self, limit: LIMIT }
    }
}

impl<St: InboxStore, K> BatchInboxLayer<St, K> {
    /// Sets how many messages are handled in one transaction. Defaults to 256.
    ///
    /// A larger batch is handled in parts, one after the other; each is committed by itself. On
    /// PostgreSQL a message holds an advisory lock until its transaction ends, and all sessions
    /// together have room for some `max_locks_per_transaction × max_connections` (6 400 by default);
    /// a batch that finds none left fails with [`Busy`](crate::error::StoreErrorKind::Busy).
    ///
    /// # Panics
    ///
    /// If it is 0.
    #[track_caller]
    pub fn at_most(mut self, messages: usize) -> Self {
        self.limit =
            NonZeroUsize::new(messages).expect("a transaction of no messages handles none");
        self
    }
}

impl<S, St, K> Layer<S> for BatchInboxLayer<St, K>
where
    St: BatchStore,
    K: Clone,
{
    type Service = BatchInbox<S, St, K>;

    fn layer(&self, inner: S) -> Self::Service {
        BatchInbox {
            inner,
            store: Arc::clone(&self.layer.store),
            config: Arc::new(self.layer.config.clone()),
            source: self.layer.source.clone(),
            wait: self.layer.mode.wait,
            limit: self.limit,
        }
    }
}

impl<St: InboxStore, K: Clone> Clone for BatchInboxLayer<St, K> {
    fn clone(&self) -> Self {
        Self { layer: self.layer.clone(), limit: self.limit }
    }
}

impl<St: InboxStore, K> fmt::Debug for BatchInboxLayer<St, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchInboxLayer")
            .field("layer", &self.layer)
            .field("limit", &self.limit)
            .finish()
    }
}

// A batch of a hundred has most of what there is to gain, and twenty connections with such batches
// fit PostgreSQL's lock table as it comes.
const LIMIT: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");
