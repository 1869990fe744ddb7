//! The inbox in an SQLite file, with nothing to install.

mod admin;
mod ages;
mod batch;
mod claim;
mod error;
mod group;
mod lease;
mod poison;
mod record;
mod redelivery;
mod register;
mod sweep;
mod tx;

use std::{
    fmt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{
    Sqlite, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    BoxTx, Claim, Claimed, Clock, ConsumerId, Cursor, Deed, DuplicateAges, Grant, InboxStore,
    LeaseClaimed, LeaseRequest, StoreMeta, SweepStore, Swept, shelf::Shelf,
};
use crate::{
    error::{StoreError, StoreErrorKind},
    hook::BoxFuture,
    inbox::{Window, retention::Sweeper},
    key::InboxKey,
    schema::SqliteSchema,
};

/// The inbox in an SQLite database.
///
/// ```
/// use tower_inbox::inbox::SqliteStore;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_inbox::BoxError> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("shop.db");
/// let store = SqliteStore::open(&path).await?;
/// store.schema().up().await?;
/// # store.pool().close().await;
/// # Ok(())
/// # }
/// ```
///
/// # One writer
///
/// SQLite has one writer at a time, so deliveries queue for the file and are then answered *handled*
/// or *duplicate*; only leased deliveries can be in flight. Who waits longer than the busy timeout
/// gets [`Busy`](crate::error::StoreErrorKind::Busy). The pool of [`open`](Self::open) has one
/// connection: a handler that asks the pool for another one while it holds its transaction waits
/// for itself.
///
/// # Durability
///
/// [`open`](Self::open) uses a write-ahead log with `synchronous = full`: what was acknowledged
/// survives a power cut. With `normal`, which many pools have, the last commits may be lost
/// together with their claims; then a message that was acknowledged is gone.
#[derive(Clone)]
pub struct SqliteStore {
    pool: SqlitePool,
    shelf: Option<Arc<Shelf<Sqlite>>>,
    clock: Option<Clock>,
    ages: DuplicateAges,
}

impl SqliteStore {
    /// Uses a pool of your own. Does not connect, and does not migrate.
    pub fn new(pool: SqlitePool) -> Self {
        Self { pool, shelf: None, clock: None, ages: DuplicateAges::default() }
    }

    /// Opens a file, and makes it if it is missing, with the options recommended above. Does not
    /// migrate.
    ///
    /// # Errors
    ///
    /// The file cannot be made, opened or is not a database.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(BUSY_TIMEOUT)
            .test_before_acquire(false);
        let deadline = Instant::now() + BUSY_TIMEOUT;
        loop {
            let error = match pool.clone().connect_with(options.clone()).await {
                Ok(pool) => return Ok(Self::new(pool).keep(STAY)),
                Err(error) => error::classify(error, &format!("could not open {}", path.display())),
            };
            // While others turn a new file into one with a write-ahead log, SQLite says that it is
            // busy without waiting.
            if error.kind() != StoreErrorKind::Busy || Instant::now() >= deadline {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Makes a database in memory that lives as long as the store; for tests and examples.
    ///
    /// # Errors
    ///
    /// There is no memory for it.
    pub async fn in_memory() -> Result<Self, StoreError> {
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            // A future that is dropped during the test takes the connection with it, and the data.
            .test_before_acquire(false)
            .connect_with(SqliteConnectOptions::new().in_memory(true))
            .await
            .map_err(|error| error::classify(error, "could not make a database in memory"))?;
        Ok(Self::new(pool).keep(STAY))
    }

    /// How long the connection may stay away from the pool, from delivery to delivery. Defaults to
    /// 10 ms for the pools that [`open`](Self::open) and [`in_memory`](Self::in_memory) make, and to
    /// zero for one of your own: there it goes back after each.
    ///
    /// sqlx's pool asks every connection that comes back whether it is alive, which takes a visit to
    /// the connection's thread. Deliveries hand it to each other instead, until its time is over. Who
    /// else waits for a connection of a pool that is exhausted waits up to this much longer, and so
    /// does `close`; the pool's hooks run when a connection leaves and comes back, not for each
    /// delivery.
    #[must_use]
    pub fn keep(mut self, stay: Duration) -> Self {
        self.shelf = (!stay.is_zero()).then(|| Arc::new(Shelf::new(self.pool.clone(), stay)));
        self
    }

    /// Takes the time from a test's clock instead of the machine's. The machine's by default.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The tables: make them, check them, take them away.
    pub fn schema(&self) -> SqliteSchema {
        SqliteSchema::new(self.pool.clone(), error::classify)
    }

    /// Makes what removes expired claims; spawn its [`run`](Sweeper::run).
    pub fn sweeper(&self) -> Sweeper<Self> {
        Sweeper::new(self.clone())
    }

    /// The pool.
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Says of what kind an error of a statement of your own is, as the store does of its own; what
    /// was being done goes in front.
    ///
    /// For handlers that return a [`StoreError`], so that a writer that is busy or a disk that is full
    /// reads the same wherever it comes up.
    pub fn classify(error: sqlx::Error, context: &str) -> StoreError {
        error::classify(error, context)
    }

    /// Now, in milliseconds since 2020-01-01.
    fn now(&self) -> Now {
        Now(self.clock.as_ref().map_or_else(Clock::system_millis, Clock::millis))
    }
}

/// A moment, as the columns hold it: an expiry is rounded up and a comparison down, so that nothing
/// ends early.
#[derive(Clone, Copy)]
struct Now(i64);

impl Now {
    fn floor(self) -> i64 {
        self.0.div_euclid(1000)
    }

    fn after(self, length: Window) -> i64 {
        self.0.div_euclid(1000)
            + i64::from(self.0.rem_euclid(1000) > 0)
            + i64::from(length.as_secs())
    }
}

#[deny(clippy::missing_trait_methods)]
impl InboxStore for SqliteStore {
    type Connection = SqliteConnection;

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

    fn claim(
        &self,
        claim: Claim,
    ) -> BoxFuture<'static, Result<Claimed<SqliteConnection>, StoreError>> {
        let store = self.clone();
        Box::pin(async move { claim::claim(&store, claim).await })
    }

    fn begin(&self) -> BoxFuture<'static, Result<BoxTx<SqliteConnection>, StoreError>> {
        let store = self.clone();
        Box::pin(async move {
            let tx = tx::begin(&store).await?;
            Ok(Box::new(tx) as BoxTx<SqliteConnection>)
        })
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
impl SweepStore for SqliteStore {
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

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}

// Some thirty deliveries, for which the pool would have asked thirty times; and what a reader of the
// file hardly notices.
const STAY: Duration = Duration::from_millis(10);
// A queue of some thousand deliveries at 4 000 a second, and far above one slow handler.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
