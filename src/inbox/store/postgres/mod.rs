//! The inbox in PostgreSQL 13 or newer.

mod admin;
mod ages;
mod batch;
mod buckets;
mod claim;
mod error;
mod lease;
mod poison;
mod record;
mod redelivery;
mod register;
mod statement;
mod sweep;
mod tx;

use std::{fmt, sync::Arc, time::Duration};

use sqlx::{PgConnection, PgPool, Postgres};

use super::{
    BoxTx, Claim, Claimed, Clock, ConsumerId, Cursor, Deed, DuplicateAges, Grant, InboxStore,
    LeaseClaimed, LeaseRequest, StoreMeta, SweepStore, Swept, shelf::Shelf,
};
use crate::{
    error::StoreError,
    hook::BoxFuture,
    inbox::{Window, retention::Sweeper},
    key::InboxKey,
    schema::PgSchema,
};

pub use buckets::PgBucketStore;

/// The inbox in PostgreSQL, on a pool of your own.
///
/// ```no_run
/// use sqlx::postgres::PgPoolOptions;
/// use tower_inbox::inbox::PgStore;
///
/// # async fn example() -> Result<(), tower_inbox::BoxError> {
/// let pool = PgPoolOptions::new()
///     .test_before_acquire(false)
///     .connect("postgres://localhost/shop")
///     .await?;
/// let store = PgStore::new(pool);
/// store.schema().up().await?;
/// # Ok(())
/// # }
/// ```
///
/// # The pool
///
/// A delivery holds one connection from its claim to its commit, so the pool's size bounds how many
/// are handled at once. sqlx's default pool asks the server whether a connection is alive each time
/// it hands one out, which costs a round trip per message; `test_before_acquire(false)` saves it, and
/// a connection that died then fails one delivery, which the broker repeats. A handler that asks the
/// same pool for another connection while it holds its transaction may wait for itself.
///
/// # Poolers
///
/// PgBouncer in transaction mode is fine, with either setting of [`prepared`](Self::prepared): what the
/// store sends outside of a transaction is one message. The statements of your *handler* are your own:
/// sqlx prepares them by name, and behind PgBouncer before 1.21 that fails, or executes what somebody
/// else has prepared under the same name. `docs/postgres.md` in the repository says what to do.
///
/// # Durability
///
/// With `synchronous_commit = off` a crash of the server loses the last commits that it acknowledged,
/// claims and effects together: messages that were acknowledged to the broker are then gone. Leave it
/// on for what must not be lost.
///
/// # Isolation
///
/// Claims are exact under every isolation level. A session whose default is `repeatable read` or
/// `serializable` may have to look again, which is done up to three times.
///
/// # Server log
///
/// A duplicate ends its claim with an error of SQLSTATE `TI001`, an in-flight one with `TI002`, and
/// PostgreSQL writes both to its log.
///
/// # Locks
///
/// For each delivery one transaction-level advisory lock is held, under a 64-bit number made from
/// consumer and key.
#[derive(Clone)]
pub struct PgStore {
    pool: PgPool,
    shelf: Option<Arc<Shelf<Postgres>>>,
    prepared: bool,
    clock: Option<Clock>,
    ages: DuplicateAges,
}

impl PgStore {
    /// Uses a pool. Does not connect, and does not migrate.
    pub fn new(pool: PgPool) -> Self {
        Self { pool, shelf: None, prepared: true, clock: None, ages: DuplicateAges::default() }
    }

    /// Whether sessions keep claims, leases and their ends as prepared statements. Defaults to `true`.
    ///
    /// They are prepared with SQL's `PREPARE` the first time a session needs them, and again when a
    /// pooler hands out another session. Switch it off for a proxy that pins a session to a client
    /// once it has seen a `PREPARE`, such as Amazon RDS Proxy.
    #[must_use]
    pub fn prepared(mut self, prepared: bool) -> Self {
        self.prepared = prepared;
        self
    }

    /// How long a connection may stay away from the pool, from delivery to delivery. Defaults to zero:
    /// it goes back after each.
    ///
    /// sqlx's pool asks every connection that comes back whether it is alive. For a message that is
    /// handled in three round trips this is a fourth. With `keep`, connections are handed from one
    /// delivery to the next instead; each goes back when its time is over. 50 ms are enough to save
    /// nearly all of the questions.
    ///
    /// # Other users of the pool
    ///
    /// Who waits for a connection of a pool that is exhausted waits up to this much longer, and so
    /// does `close`. The pool's hooks (`before_acquire`, `after_release`) run when a connection leaves
    /// and comes back, not for each delivery: do not use this with a hook that cleans up after a
    /// handler, `discard all` for instance.
    ///
    /// # A connection that died
    ///
    /// A claim on a connection that was kept and turns out to be dead is made again on one from the
    /// pool.
    #[must_use]
    pub fn keep(mut self, stay: Duration) -> Self {
        self.shelf = (!stay.is_zero()).then(|| Arc::new(Shelf::new(self.pool.clone(), stay)));
        self
    }

    /// Takes the time from a test's clock instead of the database's. The database's by default.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The tables: make them, check them, take them away.
    pub fn schema(&self) -> PgSchema {
        PgSchema::new(self.pool.clone(), error::classify)
    }

    /// Makes what removes expired claims; spawn its [`run`](Sweeper::run).
    pub fn sweeper(&self) -> Sweeper<Self> {
        Sweeper::new(self.clone())
    }

    /// The pool.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Says of what kind an error of a statement of your own is, as the store does of its own; what
    /// was being done goes in front.
    ///
    /// For handlers that return a [`StoreError`], so that a server that is away, a disk that is full
    /// or a conflict between transactions reads the same wherever it comes up. A table that is
    /// missing is [`Other`](crate::error::StoreErrorKind::Other) here, because it is yours.
    pub fn classify(error: sqlx::Error, context: &str) -> StoreError {
        error::classify_foreign(error, context)
    }

    /// Seconds since 2020-01-01 where a test has its own clock.
    fn now(&self) -> Option<f64> {
        #[allow(clippy::cast_precision_loss)] // milliseconds of some centuries fit 53 bits
        self.clock.as_ref().map(|clock| clock.millis() as f64 / 1000.0)
    }
}

#[deny(clippy::missing_trait_methods)]
impl InboxStore for PgStore {
    type Connection = PgConnection;

    fn meta(&self) -> BoxFuture<'static, Result<StoreMeta, StoreError>> {
        let store = self.clone();
        Box::pin(async move { register::meta(&store).await })
    }

    fn register(
        &self,
        consumer: Arc<str>,
        window: Window,
        probe: InboxKey,
    ) -> BoxFuture<'static, Result<ConsumerId, StoreError>> {
        let store = self.clone();
        Box::pin(async move { register::register(&store, &consumer, window, probe).await })
    }

    fn claim(&self, claim: Claim) -> BoxFuture<'static, Result<Claimed<PgConnection>, StoreError>> {
        let store = self.clone();
        Box::pin(async move { claim::claim(&store, claim).await })
    }

    fn begin(&self) -> BoxFuture<'static, Result<BoxTx<PgConnection>, StoreError>> {
        let store = self.clone();
        Box::pin(async move { claim::begin(&store).await })
    }

    fn lease(&self, request: LeaseRequest) -> BoxFuture<'static, Result<LeaseClaimed, StoreError>> {
        let store = self.clone();
        Box::pin(async move { lease::lease(&store, &request).await })
    }

    fn settle(&self, grant: Grant, deed: Deed) -> BoxFuture<'static, Result<bool, StoreError>> {
        let store = self.clone();
        Box::pin(async move { lease::settle(&store, grant, deed).await })
    }

    fn duplicate_ages(&self) -> DuplicateAges {
        self.ages.clone()
    }
}

#[deny(clippy::missing_trait_methods)]
impl SweepStore for PgStore {
    fn begin_round(&self, every: Duration) -> BoxFuture<'static, Result<bool, StoreError>> {
        let store = self.clone();
        Box::pin(async move { sweep::begin_round(&store, every).await })
    }

    fn sweep(
        &self,
        cursor: Option<Cursor>,
        retention: Duration,
    ) -> BoxFuture<'static, Result<Swept, StoreError>> {
        let store = self.clone();
        Box::pin(async move { sweep::sweep(&store, cursor, retention).await })
    }

    fn write_ages(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        let store = self.clone();
        Box::pin(async move { ages::write(&store).await })
    }
}

impl fmt::Debug for PgStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgStore").field("prepared", &self.prepared).finish_non_exhaustive()
    }
}
