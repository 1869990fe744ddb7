//! One empty, migrated database per test, for each kind of store.

use sqlx::{PgConnection, PgPool, SqliteConnection, SqlitePool};
use tower_inbox::{
    BoxError,
    hook::BoxFuture,
    inbox::{PgStore, SqliteStore},
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
