use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use tower_layer::Layer;

use super::{
    Inbox, InvalidWindow, Window, WithoutKey,
    admit::{InLease, InTransaction},
    config::Config,
    key_source::{ByEncoder, ByFields, Derived, WithFingerprint, WithPayload},
    poison::{DeadLetterPolicy, Poison},
    replay::ReplayLayer,
    store::{InboxStore, PoisonStore, RecordStore},
};
use crate::{
    error::StoreError,
    hook::CommitHook,
    key::{KeyEncoder, KeyFields, KeyHasher, Secret},
};

/// Makes a message that is delivered twice take effect once.
///
/// The inner service gets [`Received`](super::Received): the message, and the open transaction that
/// holds its claim. What the handler writes through it commits with the claim or not at all.
///
/// ```
/// use std::time::Duration;
///
/// use sqlx::SqliteConnection;
/// use tower::{Service, ServiceBuilder, ServiceExt};
/// use tower_inbox::{InboxLayer, Outcome, inbox::{Received, SqliteStore}};
///
/// #[derive(Clone)]
/// struct Payment { id: u64, cents: i64 }
///
/// async fn book(
///     received: Received<Payment, SqliteConnection>,
/// ) -> Result<(), sqlx::Error> {
///     let (payment, mut tx) = received.into_parts();
///     sqlx::query("insert into ledger (cents) values (?)")
///         .bind(payment.cents)
///         .execute(&mut *tx)
///         .await?;
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
///     .layer(
///         InboxLayer::new("ledger", store)
///             .window(Duration::from_secs(7 * 24 * 3600))
///             .dedup_by(|payment: &Payment| payment.id),
///     )
///     .service_fn(book);
///
/// let payment = Payment { id: 7, cents: 250 };
/// assert_eq!(service.ready().await?.call(payment.clone()).await?, Outcome::Handled(()));
/// assert_eq!(service.ready().await?.call(payment).await?, Outcome::Duplicate);
/// # Ok(())
/// # }
/// ```
///
/// # Order in a stack
///
/// A timeout or a concurrency limit belongs *outside* (before) the inbox, where it bounds the claim
/// as well; a retry belongs *outside* too, because each attempt needs a transaction of its own. Being
/// ready takes no connection, so a burst queues for the pool and may time out there:
/// `ServiceBuilder::concurrency_limit` at the size of the pool keeps it in the stack. A layer that
/// wraps errors hides [`InFlight`](super::InFlight) from `is`; decide inside it, or walk the sources.
///
/// # Panics in the handler
///
/// The transaction is rolled back as the future is dropped; a lease stays until it ends.
///
/// # Errors
///
/// The service's error is [`BoxError`](crate::BoxError): the handler's own, untouched, or one of
/// [`InFlight`](super::InFlight), [`KeyAbsent`](super::KeyAbsent),
/// [`TransactionNotReturned`](super::TransactionNotReturned), [`LeaseLost`](super::LeaseLost),
/// [`StoreError`]. None of them is a reason to acknowledge the message.
#[must_use = "a layer does nothing until it wraps a service"]
pub struct InboxLayer<St: InboxStore, K = Derived, X = InTransaction> {
    pub(super) store: Arc<St>,
    pub(super) config: Config<St::Connection>,
    pub(super) source: K,
    pub(super) mode: X,
}

impl<St: InboxStore> InboxLayer<St> {
    /// Makes a layer for a consumer, in transactional mode, for messages with
    /// [`Dedup`](crate::Dedup).
    ///
    /// The name is the scope of recognition: two consumers handle the same message once each. It is
    /// registered at the first call, or by [`prepare`](Self::prepare).
    pub fn new(consumer: impl Into<Arc<str>>, store: St) -> Self {
        Self {
            config: Config::new(consumer.into(), store.duplicate_ages()),
            store: Arc::new(store),
            source: Derived::default(),
            mode: InTransaction { wait: WAIT },
        }
    }
}

impl<St: InboxStore, K, X> InboxLayer<St, K, X> {
    /// Sets how long redeliveries are recognised. Defaults to 24 hours.
    ///
    /// # Panics
    ///
    /// If the window is shorter than a second or longer than ten years; check one that comes from
    /// configuration with [`Window::try_from`] first.
    #[track_caller]
    pub fn window(mut self, window: Duration) -> Self {
        self.config.window = checked(window);
        self
    }

    /// Takes the key from what a closure returns: one field, or a tuple of up to eight.
    ///
    /// The kind is empty unless [`kind`](InboxLayer::kind) sets one. The closure cannot return a
    /// borrow from the message (a limit of the language, known from `sort_by_key`); clone, or use
    /// [`dedup_with`](Self::dedup_with).
    pub fn dedup_by<M, F, T>(self, fields: F) -> InboxLayer<St, ByFields<F, M>, X>
    where
        F: Fn(&M) -> T,
        T: KeyFields,
    {
        self.source(ByFields { fields, kind: Arc::from(""), message: PhantomData })
    }

    /// Takes the key from what a closure appends to an encoder, without cloning.
    ///
    /// ```
    /// # use tower_inbox::{InboxLayer, inbox::SqliteStore};
    /// # struct Order { id: u64, email: String }
    /// # async fn example(store: SqliteStore) {
    /// let layer = InboxLayer::new("billing", store).dedup_with(|order: &Order, key| {
    ///     key.field(&order.id).field(&order.email);
    /// });
    /// # }
    /// ```
    pub fn dedup_with<M, F>(self, encode: F) -> InboxLayer<St, ByEncoder<F, M>, X>
    where
        F: Fn(&M, &mut KeyEncoder),
    {
        self.source(ByEncoder { encode, kind: Arc::from(""), message: PhantomData })
    }

    /// Takes the key from a [`KeySource`](super::KeySource) of your own.
    pub fn source<K2>(self, source: K2) -> InboxLayer<St, K2, X> {
        let Self { store, config, source: _, mode } = self;
        InboxLayer { store, config, source, mode }
    }

    /// Holds the claim as a lease instead of a transaction, for a handler whose effects are
    /// elsewhere. The inner service then gets [`Leased`](super::Leased).
    ///
    /// # Choosing a lease
    ///
    /// Longer than the handler takes, with room for a slow day: a handler that outlives its lease is
    /// overtaken by the next delivery, and its late completion is refused with
    /// [`LeaseLost`](super::LeaseLost). And not much longer than a redelivery may wait after a
    /// crash: a dropped future leaves the claim behind until the lease ends.
    ///
    /// # Panics
    ///
    /// If the lease is shorter than a second or longer than ten years.
    #[track_caller]
    pub fn leased(self, lease: Duration) -> InboxLayer<St, K, InLease> {
        let Self { store, config, source, mode: _ } = self;
        let owner = format!("process {}", std::process::id()).into();
        InboxLayer { store, config, source, mode: InLease { lease: checked(lease), owner } }
    }

    /// Sets what happens to a message without a key. Defaults to [`WithoutKey::Reject`].
    pub fn without_key(mut self, policy: WithoutKey) -> Self {
        self.config.without_key = policy;
        self
    }

    /// Adds a hook. They run in the order in which they were added. None by default.
    pub fn hook(mut self, hook: impl CommitHook<St::Connection> + 'static) -> Self {
        self.config.hooks.push(Arc::new(hook));
        self
    }

    /// Sets the hash function and layout of keys. Defaults to
    /// [`Xxh64Keyed`](crate::key::Xxh64Keyed).
    ///
    /// # Changing it
    ///
    /// A live consumer's rows were claimed under the old keys; under new ones its redeliveries would
    /// all look new. So the store remembers how a consumer's keys are made and refuses another way
    /// with [`KeyChanged`](crate::error::StoreErrorKind::KeyChanged). Start a consumer of another
    /// name, and keep the old one running until its window is over.
    pub fn hasher(mut self, hasher: impl KeyHasher + 'static) -> Self {
        self.config.hasher = Arc::new(hasher);
        self.config.registration = Arc::default();
        self
    }

    /// Sets the secret of the keys. Defaults to the one that the migration made in the database.
    ///
    /// For several databases that must agree on keys, or where the database must not know it. All
    /// processes of a consumer need the same one; changing it is changing the keys, see
    /// [`hasher`](Self::hasher).
    pub fn secret(mut self, secret: Secret) -> Self {
        self.config.secret = Some(secret);
        self.config.registration = Arc::default();
        self
    }

    /// Checks the schema and registers the consumer now, so that a wrong configuration is found at
    /// the start and not by the first message.
    ///
    /// # Errors
    ///
    /// The database is unreachable, not migrated, has a newer schema, may not be written, or knows
    /// the consumer with other keys.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        self.config.register(&*self.store).await.map(drop)
    }

    /// The store.
    pub fn store(&self) -> &St {
        &self.store
    }
}

impl<St: RecordStore + 'static, K, X> InboxLayer<St, K, X> {
    /// Keeps the response of each message, and answers duplicates with it. See
    /// [`replay`](super::replay).
    pub fn replay<Co>(mut self, codec: Co) -> ReplayLayer<St, K, X, Co> {
        self.keep_records();
        ReplayLayer::new(self, codec)
    }

    /// Keeps a fingerprint of what the closure returns, usually the whole body of the message, and
    /// refuses a duplicate whose body differs with [`KeyReused`](super::KeyReused).
    ///
    /// A key that was handled without a fingerprint is a duplicate whatever it says. In flight comes
    /// before: while the first message is being handled, another body under its key is
    /// [`InFlight`](super::InFlight).
    ///
    /// Costs one more statement in the transaction (the same one as [`replay`](Self::replay)'s), and
    /// a read for each duplicate. Call it after what chooses the key.
    ///
    /// ```
    /// # use tower_inbox::{InboxLayer, inbox::SqliteStore};
    /// # #[derive(Clone)] struct Webhook { id: String, body: Vec<u8> }
    /// # async fn example(store: SqliteStore) {
    /// let layer = InboxLayer::new("billing", store)
    ///     .dedup_by(|hook: &Webhook| hook.id.clone())
    ///     .fingerprint(|hook: &Webhook| hook.body.clone());
    /// # }
    /// ```
    pub fn fingerprint<M, F, B>(mut self, body: F) -> InboxLayer<St, WithFingerprint<K, F>, X>
    where
        F: Fn(&M) -> B,
        B: AsRef<[u8]>,
    {
        self.keep_records();
        let Self { store, config, source, mode } = self;
        InboxLayer { store, config, source: WithFingerprint { source, body }, mode }
    }

    fn keep_records(&mut self) {
        self.config.records = Some(Arc::clone(&self.store) as _);
    }
}

impl<St: PoisonStore + 'static, K, X> InboxLayer<St, K, X> {
    /// Gives up on a message that failed too often: it is put among the dead letters, and its
    /// deliveries fail with [`DeadLettered`](super::DeadLettered), which is to be acknowledged. Never
    /// by default: the broker decides how often it delivers.
    ///
    /// `tower-inbox dead list` shows them; `dead requeue` lets one through again.
    pub fn dead_letters(mut self, policy: DeadLetterPolicy) -> Self {
        self.config.poison = Some(Poison::new(Arc::clone(&self.store) as _, policy));
        self
    }

    /// Keeps with a dead letter what the closure writes, usually the message as it came, so that it
    /// can be delivered from the database again. By default only key and reason are kept.
    ///
    /// The closure runs before each claim, because afterwards the message is the handler's. Call it
    /// after what chooses the key.
    pub fn payload<M, F>(self, write: F) -> InboxLayer<St, WithPayload<K, F>, X>
    where
        F: Fn(&M) -> Vec<u8>,
    {
        let Self { store, config, source, mode } = self;
        InboxLayer { store, config, source: WithPayload { source, write }, mode }
    }
}

impl<St: InboxStore, K> InboxLayer<St, K, InTransaction> {
    /// Sets how long a delivery waits for another one of the same message before it fails with
    /// [`InFlight`](super::InFlight). Defaults to 50 ms.
    ///
    /// While it waits it holds a connection. Zero answers at once. On SQLite, where all writers
    /// queue, the connection's busy timeout decides instead.
    pub fn in_flight_wait(mut self, wait: Duration) -> Self {
        self.mode.wait = wait;
        self
    }
}

impl<St: InboxStore, K> InboxLayer<St, K, InLease> {
    /// Sets who is entered as the holder of leases. Defaults to the process id.
    pub fn owner(mut self, owner: impl Into<Arc<str>>) -> Self {
        self.mode.owner = owner.into();
        self
    }
}

impl<St: InboxStore, F, M, X> InboxLayer<St, ByFields<F, M>, X> {
    /// Sets the kind of message, which keeps equal fields of different messages apart. Defaults to
    /// the empty kind.
    pub fn kind(mut self, kind: impl Into<Arc<str>>) -> Self {
        self.source.kind = kind.into();
        self
    }
}

impl<St: InboxStore, F, M, X> InboxLayer<St, ByEncoder<F, M>, X> {
    /// Sets the kind of message, which keeps equal fields of different messages apart. Defaults to
    /// the empty kind.
    pub fn kind(mut self, kind: impl Into<Arc<str>>) -> Self {
        self.source.kind = kind.into();
        self
    }
}

impl<S, St, K, X> Layer<S> for InboxLayer<St, K, X>
where
    St: InboxStore,
    K: Clone,
    X: Clone,
{
    type Service = Inbox<S, St, K, X>;

    fn layer(&self, inner: S) -> Self::Service {
        Inbox {
            inner,
            store: Arc::clone(&self.store),
            config: Arc::new(self.config.clone()),
            source: self.source.clone(),
            mode: self.mode.clone(),
        }
    }
}

impl<St: InboxStore, K: Clone, X: Clone> Clone for InboxLayer<St, K, X> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            config: self.config.clone(),
            source: self.source.clone(),
            mode: self.mode.clone(),
        }
    }
}

impl<St: InboxStore, K, X: fmt::Debug> fmt::Debug for InboxLayer<St, K, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxLayer")
            .field("consumer", &self.config.consumer)
            .field("window", &self.config.window)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

#[track_caller]
fn checked(length: Duration) -> Window {
    match Window::try_from(length) {
        Ok(window) => window,
        Err(error @ InvalidWindow { .. }) => panic!("{error}"),
    }
}

// Long enough that the twin of a redelivery storm ends first, short enough that a poll of
// duplicates does not empty the pool: 32 deliveries of one key held 31 connections without it.
const WAIT: Duration = Duration::from_millis(50);
