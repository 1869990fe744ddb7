//! The inbox in PostgreSQL for tables that are too large to delete from.

mod batch;
mod claim;
mod lease;
mod record;
mod register;
mod sweep;

use std::{fmt, sync::Arc, time::Duration};

use sqlx::{PgConnection, PgPool};

use super::{PgStore, register::meta};
#[cfg(feature = "testing")]
use crate::inbox::store::Clock;
use crate::{
    error::StoreError,
    hook::BoxFuture,
    inbox::{
        Window,
        retention::Sweeper,
        store::{
            BoxTx, Claim, Claimed, ConsumerId, Cursor, Deed, DuplicateAges, Grant, InboxStore,
            LeaseClaimed, LeaseRequest, StoreMeta, SweepStore, Swept,
        },
    },
    key::InboxKey,
    schema::PgSchema,
};

#[doc = include_str!("../../../../docs/buckets.md")]
#[derive(Clone)]
pub struct PgBucketStore {
    pg: PgStore,
    period: Option<Duration>,
    beside_flat: bool,
}

impl PgBucketStore {
    /// Uses a pool. Does not connect, and does not migrate.
    pub fn new(pool: PgPool) -> Self {
        Self { pg: PgStore::new(pool), period: None, beside_flat: false }
    }

    /// Sets how much time one table holds the claims of. Defaults to half of the longest window of
    /// the consumers in buckets.
    ///
    /// A claim looks into every table that has not expired, which is the window divided by this, and
    /// one or two; and what expired stays for up to this long. With half of the window that is three
    /// tables, and rows that stay for a quarter of their window longer on average. It is never less
    /// than a tenth of the longest window, because there are sixteen tables. The last word has the
    /// process whose sweeper gives out the next table.
    ///
    /// # Panics
    ///
    /// Panics if it is less than a second.
    #[must_use]
    pub fn period(mut self, period: Duration) -> Self {
        assert!(period >= Duration::from_secs(1), "a period is at least a second long");
        self.period = Some(period);
        self
    }

    /// Whether claims are written to the flat table of [`PgStore`] as well, and looked for there.
    /// Defaults to `false`. For a consumer that is moved from there, or back.
    #[must_use]
    pub fn beside_flat(mut self, beside_flat: bool) -> Self {
        self.beside_flat = beside_flat;
        self
    }

    /// Whether sessions keep claims, leases and their ends as prepared statements. Defaults to `true`;
    /// see [`PgStore::prepared`].
    #[must_use]
    pub fn prepared(mut self, prepared: bool) -> Self {
        self.pg = self.pg.prepared(prepared);
        self
    }

    /// Takes the time from a test's clock instead of the database's. The database's by default.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.pg = self.pg.with_clock(clock);
        self
    }

    /// The tables: make them, check them, take them away. They are the same for both stores.
    pub fn schema(&self) -> PgSchema {
        self.pg.schema()
    }

    /// Makes what gives tables their times and empties those that expired; spawn its
    /// [`run`](Sweeper::run).
    pub fn sweeper(&self) -> Sweeper<Self> {
        Sweeper::new(self.clone())
    }

    /// The pool.
    pub fn pool(&self) -> &PgPool {
        self.pg.pool()
    }
}

#[deny(clippy::missing_trait_methods)]
impl InboxStore for PgBucketStore {
    type Connection = PgConnection;

    fn meta(&self) -> BoxFuture<'static, Result<StoreMeta, StoreError>> {
        let store = self.clone();
        Box::pin(async move { meta(&store.pg).await })
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
        self.pg.begin()
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
        self.pg.duplicate_ages()
    }
}

#[deny(clippy::missing_trait_methods)]
impl SweepStore for PgBucketStore {
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
        self.pg.write_ages()
    }
}

impl fmt::Debug for PgBucketStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgBucketStore")
            .field("period", &self.period)
            .field("beside_flat", &self.beside_flat)
            .finish_non_exhaustive()
    }
}
