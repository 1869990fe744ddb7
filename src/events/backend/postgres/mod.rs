//! Marks and claims in PostgreSQL.

mod ask;
mod claims;
mod clear;
mod error;
mod groups;
mod health;
mod keys;
mod marks;
mod namespace;
mod sweep;

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{
    Connection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use self::{namespace::Space, sweep::Sweeping};
use super::{BackendError, ClaimAnswer, EventBackend, Health, Traffic};
use crate::{
    events::{
        ClaimToken, DeduplicationConfig, EventIds, EventWindow, EventsError, EventsErrorKind,
        config::without_password,
    },
    hook::BoxFuture,
    schema::PgSchema,
};

/// Keeps marks and claims in PostgreSQL 13 or newer, where there is a database anyway and no Redis.
///
/// An event takes a row of 60 bytes and its entry in the index, 105 bytes or so, until it is swept. A
/// batch is one statement. Clones share everything.
///
/// ```no_run
/// use sqlx::PgPool;
/// use tower_inbox::events::{
///     DeduplicationConfig, EventDeduplicator, EventIdExtractor, backend::PgBackend,
/// };
///
/// # async fn example() -> Result<(), tower_inbox::BoxError> {
/// let pool = PgPool::connect("postgres://localhost/shop").await?;
/// let backend = PgBackend::new(pool, "payments");
/// backend.schema().up().await?;
/// let by_id = EventIdExtractor::string(|id: &String| id.clone());
/// let payments =
///     EventDeduplicator::with_backend(DeduplicationConfig::default(), by_id, backend);
/// assert!(payments.check_and_mark(&"p-7".to_owned()).await?);
/// # Ok(())
/// # }
/// ```
///
/// # What it does with the settings
///
/// - The end of a window is rounded up to a whole slot, which spares a sliding window most of its
///   writes: a duplicate is written once a slot. Nothing is read slot by slot, so there may be any number
///   of distinct windows, and `max_windows` is not looked at.
/// - A connection carries one statement at a time. Set `connections` to how many calls there are at once,
///   or let single calls [coalesce](crate::events::EventDeduplicator::coalesced).
/// - `connect_timeout` is how long to wait for a connection, be it a new one or one that others use.
///
/// # Ids
///
/// The key of an event is its 128-bit signature, in compact and in exact mode. An exact id is kept beside
/// it, so that whoever has the table can read the ids, and two with one signature are an error, not a
/// duplicate. The first process to use a namespace decides; others with another mode are refused.
///
/// # Sweeping
///
/// What is over is removed along the way: before every 4 096th event that is marked, claimed or confirmed
/// by a process, 64 pages of the table are looked through, and what is over in them is deleted, of every
/// namespace. That call takes some 10 ms longer. So there are hardly ever more rows that are over than
/// others. A table that nobody writes to any more stays as large as it is; [`sweep`](Self::sweep) empties
/// it. PostgreSQL 13 would read the whole table for each such step, so there nothing is removed
/// unless [`sweep`](Self::sweep) is called.
///
/// # Poolers
///
/// Every operation is one simple query in a transaction of its own, so PgBouncer in transaction mode is
/// fine.
///
/// # Durability
///
/// With `synchronous_commit = off` a crash of the server forgets the last marks: those events are handled
/// again.
#[derive(Clone)]
pub struct PgBackend {
    pool: PgPool,
    namespace: Arc<str>,
    exact: bool,
    batch: usize,
    patience: Duration,
    state: Arc<State>,
}

/// What clones share.
#[derive(Default)]
struct State {
    space: Mutex<Option<Space>>,
    sweeping: Sweeping,
    written: AtomicU64,
    read: AtomicU64,
}

impl PgBackend {
    /// Uses a pool of your own. Does not connect, and does not migrate.
    ///
    /// Deduplicators with the same namespace share their events; the others on the database know nothing
    /// of them.
    pub fn new(pool: PgPool, namespace: impl Into<Arc<str>>) -> Self {
        Self {
            pool,
            namespace: namespace.into(),
            exact: false,
            batch: BATCH,
            patience: PATIENCE,
            state: Arc::default(),
        }
    }

    /// Makes a pool for the URL of a configuration. Does not connect yet.
    ///
    /// # Errors
    ///
    /// The URL makes no sense.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime, which the pool needs.
    pub fn connect(config: &DeduplicationConfig) -> Result<Self, EventsError> {
        let settings = config.settings().get();
        let mut options = PgConnectOptions::from_str(config.store()).map_err(|_| {
            // What is wrong may be quoted in the error, and be the password.
            let place = without_password(config.store());
            EventsError::new(EventsErrorKind::Config, NAME, "connect", 0)
                .because(format!("{place:?} is not a URL of PostgreSQL"))
        })?;
        if let Some(ca) = settings.tls_ca() {
            options = options.ssl_root_cert(ca);
        }
        if let (Some(cert), Some(key)) = (settings.tls_cert(), settings.tls_key()) {
            options = options.ssl_client_cert(cert).ssl_client_key(key);
        }
        let pool = PgPoolOptions::new()
            .max_connections(u32::try_from(settings.connections()).unwrap_or(u32::MAX))
            .acquire_timeout(settings.connect_timeout())
            // One that was used a moment ago is not asked whether it is alive: it is a round trip.
            .test_before_acquire(false)
            .before_acquire(|connection, about| {
                Box::pin(async move {
                    if about.idle_for > FRESH {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(options);
        Ok(Self::new(pool, config.namespace())
            .compress_event_ids(settings.compress_event_ids())
            .batch_size(settings.pipeline_batch_size().unwrap_or(BATCH))
            .answer_timeout(settings.read_timeout() + settings.write_timeout()))
    }

    /// Sets whether the signature alone stands for an event. Defaults to true; otherwise the id is kept
    /// beside it.
    #[must_use]
    pub fn compress_event_ids(mut self, compress: bool) -> Self {
        self.exact = !compress;
        self.state = Arc::default();
        self
    }

    /// Sets how many events go into one statement. Defaults to 1 000, which take some 10 ms.
    ///
    /// # Panics
    ///
    /// If it is 0.
    #[must_use]
    #[track_caller]
    pub fn batch_size(mut self, events: usize) -> Self {
        assert!(events > 0, "a batch has room for an event");
        self.batch = events;
        self
    }

    /// Sets how long to wait for an answer. Defaults to 4 seconds.
    #[must_use]
    pub fn answer_timeout(mut self, timeout: Duration) -> Self {
        self.patience = timeout;
        self
    }

    /// Checks the version of the tables and registers the namespace. Every operation does so by itself
    /// the first time; this is for hearing of it early.
    ///
    /// # Errors
    ///
    /// The server cannot be reached or refuses us, the tables are
    /// [not there](EventsErrorKind::NotMigrated) or of another version, or the namespace keeps ids in
    /// the other mode ([`Config`](EventsErrorKind::Config)).
    pub async fn prepare(&self) -> Result<(), BackendError> {
        self.prepared_space().await.map(drop)
    }

    /// The tables: make them, check them, take them away.
    pub fn schema(&self) -> PgSchema {
        PgSchema::new(self.pool.clone(), error::for_schema)
    }

    /// The pool.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }
}

#[deny(clippy::missing_trait_methods)]
impl EventBackend for PgBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn look<'a>(&'a self, ids: &'a EventIds) -> BoxFuture<'a, Result<Vec<bool>, BackendError>> {
        Box::pin(marks::look(self, ids))
    }

    fn mark<'a>(
        &'a self,
        ids: &'a EventIds,
        window: &'a EventWindow,
    ) -> BoxFuture<'a, Result<Vec<bool>, BackendError>> {
        Box::pin(marks::mark(self, ids, window))
    }

    fn claim<'a>(
        &'a self,
        ids: &'a EventIds,
        tokens: &'a [ClaimToken],
        lease: Duration,
    ) -> BoxFuture<'a, Result<Vec<ClaimAnswer>, BackendError>> {
        Box::pin(claims::claim(self, ids, tokens, lease))
    }

    fn confirm<'a>(
        &'a self,
        ids: &'a EventIds,
        tokens: &'a [ClaimToken],
        window: &'a EventWindow,
    ) -> BoxFuture<'a, Result<Vec<bool>, BackendError>> {
        Box::pin(claims::confirm(self, ids, tokens, window))
    }

    fn release<'a>(
        &'a self,
        ids: &'a EventIds,
        tokens: &'a [ClaimToken],
    ) -> BoxFuture<'a, Result<Vec<bool>, BackendError>> {
        Box::pin(claims::release(self, ids, tokens))
    }

    fn clear(&self) -> BoxFuture<'_, Result<(), BackendError>> {
        Box::pin(clear::clear(self))
    }

    fn health(&self) -> BoxFuture<'_, Result<Health, BackendError>> {
        Box::pin(health::health(self))
    }

    fn traffic(&self) -> Traffic {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Traffic::new(of(&self.state.written), of(&self.state.read))
    }
}

impl fmt::Debug for PgBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgBackend")
            .field("namespace", &self.namespace)
            .field("exact", &self.exact)
            .finish_non_exhaustive()
    }
}

const NAME: &str = "postgres";
// Long enough that the round trip is a small part, short enough that others need not wait for its locks.
const BATCH: usize = 1_000;
// What the configuration gives reading and writing together.
const PATIENCE: Duration = Duration::from_secs(4);
// A restart of the server is noticed by who comes a moment later.
const FRESH: Duration = Duration::from_secs(1);
