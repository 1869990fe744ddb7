//! One empty, migrated database per test, for each kind of store.

use std::time::Duration;

use sqlx::{PgConnection, PgPool, SqliteConnection, SqlitePool};
use tower_inbox::{
    BoxError,
    hook::BoxFuture,
    inbox::{
        PgBucketStore, PgStore, SqliteStore, Window,
        store::{InboxStore, SweepStore},
    },
    key::InboxKey,
    testing::{Clock, Harness},
};

/// Some moment in 2026, in Unix milliseconds; not on a full second.
pub const NOW: i64 = 1_780_000_000_250;

pub struct Sqlite {
    store: SqliteStore,
    clock: Clock,
    _folder: tempfile::TempDir,
}

impl Sqlite {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path().join("inbox.db")).await.unwrap();
        store.schema().up().await.unwrap();
        sqlx::query("create table effect (name text not null)")
            .execute(store.pool())
            .await
            .unwrap();
        let clock = Clock::at_unix_millis(NOW);
        Self { store: store.with_clock(clock.clone()), clock, _folder: folder }
    }

    pub fn pool(&self) -> &SqlitePool {
        self.store.pool()
    }
}

impl Harness for Sqlite {
    type Store = SqliteStore;
    type Connection = SqliteConnection;

    fn store(&self) -> SqliteStore {
        self.store.clone()
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn write<'a>(
        connection: &'a mut SqliteConnection,
        effect: &'a str,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            sqlx::query("insert into effect (name) values (?)")
                .bind(effect)
                .execute(connection)
                .await?;
            Ok(())
        })
    }

    fn written<'a>(&'a self, effect: &'a str) -> BoxFuture<'a, i64> {
        Box::pin(async move {
            sqlx::query_scalar("select count(*) from effect where name = ?")
                .bind(effect)
                .fetch_one(self.pool())
                .await
                .unwrap()
        })
    }
}

pub struct Postgres {
    store: PgStore,
    clock: Clock,
}

impl Postgres {
    /// On a pool that `#[sqlx::test]` made.
    pub async fn start(pool: PgPool) -> Self {
        let store = PgStore::new(pool);
        store.schema().up().await.unwrap();
        sqlx::query("create table effect (name text not null)")
            .execute(store.pool())
            .await
            .unwrap();
        let clock = Clock::at_unix_millis(NOW);
        Self { store: store.with_clock(clock.clone()), clock }
    }

    pub fn pool(&self) -> &PgPool {
        self.store.pool()
    }
}

impl Harness for Postgres {
    type Store = PgStore;
    type Connection = PgConnection;

    fn store(&self) -> PgStore {
        self.store.clone()
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn write<'a>(
        connection: &'a mut PgConnection,
        effect: &'a str,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            sqlx::query("insert into effect (name) values ($1)")
                .bind(effect)
                .execute(connection)
                .await?;
            Ok(())
        })
    }

    fn written<'a>(&'a self, effect: &'a str) -> BoxFuture<'a, i64> {
        Box::pin(async move {
            sqlx::query_scalar("select count(*) from effect where name = $1")
                .bind(effect)
                .fetch_one(self.pool())
                .await
                .unwrap()
        })
    }
}

pub struct Buckets {
    store: PgBucketStore,
    clock: Clock,
    sweeps_late: Duration,
}

impl Buckets {
    /// As long as no sweeper has run: everything is in table 0.
    pub async fn without_places(pool: PgPool) -> Self {
        let pg = Postgres::start(pool).await;
        let store = PgBucketStore::new(pg.pool().clone()).with_clock(pg.clock.clone());
        Self { store, clock: pg.clock, sweeps_late: Duration::ZERO }
    }

    /// With tables that have their places, of half a day each.
    pub async fn with_places(pool: PgPool) -> Self {
        let buckets = Self { sweeps_late: HALF_A_DAY, ..Self::without_places(pool).await };
        let probe = InboxKey::from_bytes([1; 16]);
        buckets.store.register("another".into(), Window::default(), probe).await.unwrap();
        buckets.store.sweep(None, Duration::ZERO).await.unwrap();
        buckets
    }
}

impl Harness for Buckets {
    type Store = PgBucketStore;
    type Connection = PgConnection;

    fn store(&self) -> PgBucketStore {
        self.store.clone()
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn write<'a>(
        connection: &'a mut PgConnection,
        effect: &'a str,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Postgres::write(connection, effect)
    }

    fn written<'a>(&'a self, effect: &'a str) -> BoxFuture<'a, i64> {
        Box::pin(async move {
            sqlx::query_scalar("select count(*) from effect where name = $1")
                .bind(effect)
                .fetch_one(self.store.pool())
                .await
                .unwrap()
        })
    }

    fn sweeps_late(&self) -> Duration {
        self.sweeps_late
    }
}

/// The default for windows of a day, and the two seconds that an emptied table waits.
const HALF_A_DAY: Duration = Duration::from_secs(12 * 3600 + 2);
