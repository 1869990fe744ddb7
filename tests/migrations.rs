//! Up, down and up again beside a host application's own migrations, and what a wrong version says.
#![cfg(all(feature = "sqlite", feature = "postgres", feature = "testing"))]

use std::{error::Error, time::Duration};

use sqlx::{
    AssertSqlSafe, PgPool, SqlSafeStr,
    migrate::{Migration, MigrationType, Migrator},
};
use tower_inbox::{
    error::{StoreError, StoreErrorKind},
    inbox::{InboxLayer, PgStore, SqliteStore, Window, store::InboxStore},
    key::InboxKey,
    schema::{self, PgSchema, SqliteSchema},
};

#[sqlx::test(migrations = false)]
async fn postgres_goes_up_down_and_up_beside_a_host(pool: PgPool) {
    let store = PgStore::new(pool.clone());
    let schema = store.schema();
    host(&pool, 1).await;
    assert_eq!(schema.version().await.unwrap(), None);

    schema.up().await.unwrap();
    schema.up().await.unwrap();
    assert_eq!(schema.version().await.unwrap(), Some(schema::VERSION));
    register(&store).await.unwrap();
    host(&pool, 2).await;

    schema.down(0).await.unwrap();
    schema.down(0).await.unwrap();
    let left: i64 =
        sqlx::query_scalar("select count(*) from pg_namespace where nspname = 'tower_inbox'")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(left, 0, "nothing of ours is left");
    assert_eq!(kind(register(&store).await), StoreErrorKind::NotMigrated);

    schema.up().await.unwrap();
    register(&store).await.unwrap();
    host(&pool, 3).await;
    let hosts: i64 =
        sqlx::query_scalar("select count(*) from _sqlx_migrations").fetch_one(&pool).await.unwrap();
    assert_eq!(hosts, 3, "the host's migrations table is its own");
}

#[tokio::test]
async fn sqlite_goes_up_down_and_up_beside_a_host() {
    let store = SqliteStore::in_memory().await.unwrap();
    let schema = store.schema();
    let host = || async {
        host_migrator(2).run_direct(None, &mut *store.pool().acquire().await.unwrap(), false).await
    };
    host().await.unwrap();
    schema.up().await.unwrap();
    schema.up().await.unwrap();
    register(&store).await.unwrap();
    schema.down(0).await.unwrap();
    let left: Vec<String> = sqlx::query_scalar("select name from sqlite_schema order by name")
        .fetch_all(store.pool())
        .await
        .unwrap();
    assert!(left.iter().all(|name| !name.contains("tower_inbox")), "{left:?}");
    assert_eq!(kind(register(&store).await), StoreErrorKind::NotMigrated);
    schema.up().await.unwrap();
    register(&store).await.unwrap();
    host().await.unwrap();
}

#[sqlx::test(migrations = false)]
async fn many_processes_may_migrate_at_once(pool: PgPool) {
    let migrators: Vec<_> = (0..8)
        .map(|_| {
            let schema = PgStore::new(pool.clone()).schema();
            tokio::spawn(async move { schema.up().await })
        })
        .collect();
    for migrator in migrators {
        migrator.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_processes_may_migrate_one_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inbox.db");
    let migrators: Vec<_> = (0..8)
        .map(|_| {
            let path = path.clone();
            tokio::spawn(async move { SqliteStore::open(&path).await?.schema().up().await })
        })
        .collect();
    for migrator in migrators {
        migrator.await.unwrap().unwrap();
    }
    let store = SqliteStore::open(&path).await.unwrap();
    register(&store).await.unwrap();
}

#[sqlx::test(migrations = false)]
async fn another_version_is_refused_and_says_what_to_do(pool: PgPool) {
    let store = PgStore::new(pool.clone());
    let missing = register(&store).await.unwrap_err();
    assert_eq!(missing.kind(), StoreErrorKind::NotMigrated);
    assert!(missing.to_string().contains("tower-inbox migrate"), "{missing}");

    store.schema().up().await.unwrap();
    sqlx::query("insert into tower_inbox.migrations values (99, 'later', now(), true, '', 0)")
        .execute(&pool)
        .await
        .unwrap();
    let newer = register(&store).await.unwrap_err();
    assert_eq!(newer.kind(), StoreErrorKind::SchemaTooNew);
    assert!(newer.to_string().contains("update tower-inbox"), "{newer}");
    assert_eq!(kind(store.schema().up().await), StoreErrorKind::SchemaTooNew);

    sqlx::query("delete from tower_inbox.migrations where version > 0")
        .execute(&pool)
        .await
        .unwrap();
    sqlx::query("insert into tower_inbox.migrations values (0, 'older', now(), true, '', 0)")
        .execute(&pool)
        .await
        .unwrap();
    let older = register(&store).await.unwrap_err();
    assert_eq!(older.kind(), StoreErrorKind::SchemaTooOld);
    assert!(older.to_string().contains("tower-inbox migrate"), "{older}");
}

#[tokio::test]
async fn a_newer_file_is_refused() {
    let store = SqliteStore::in_memory().await.unwrap();
    store.schema().up().await.unwrap();
    sqlx::query("insert into tower_inbox_migrations values (99, 'later', '', true, x'', 0)")
        .execute(store.pool())
        .await
        .unwrap();
    assert_eq!(kind(register(&store).await), StoreErrorKind::SchemaTooNew);
    assert_eq!(kind(store.schema().up().await), StoreErrorKind::SchemaTooNew);
}

#[tokio::test]
async fn an_unreachable_server_is_said_so() {
    let pool = sqlx::postgres::PgPoolOptions::new()
        .acquire_timeout(Duration::from_secs(2))
        .connect_lazy("postgres://nobody@127.0.0.1:1/nowhere")
        .unwrap();
    let error = InboxLayer::new("billing", PgStore::new(pool)).prepare().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unreachable);
    assert!(error.to_string().contains("cannot be reached"), "{error}");
    assert!(error.source().is_some());
}

#[test]
fn both_databases_are_numbered_in_step() {
    let numbers = |steps: &[schema::Step]| -> Vec<_> {
        steps.iter().map(|step| (step.version, step.description)).collect()
    };
    assert_eq!(numbers(PgSchema::STEPS), numbers(SqliteSchema::STEPS));
    assert_eq!(PgSchema::STEPS.last().unwrap().version, schema::VERSION);
}

async fn register<St: InboxStore>(store: &St) -> Result<(), StoreError> {
    store.meta().await?;
    let probe = InboxKey::from_bytes([7; 16]);
    store.register("billing".into(), Window::default(), probe).await.map(drop)
}

fn kind<T>(result: Result<T, StoreError>) -> StoreErrorKind {
    result.err().expect("this must be refused").kind()
}

/// The host application runs its own migrations up to a number.
async fn host(pool: &PgPool, number: i64) {
    host_migrator(number).run(pool).await.unwrap();
}

fn host_migrator(number: i64) -> Migrator {
    let migrations = (1..=number)
        .map(|version| {
            let sql = AssertSqlSafe(format!("create table host_{version} (id int)")).into_sql_str();
            Migration::new(version, "host".into(), MigrationType::Simple, sql, false)
        })
        .collect();
    Migrator::with_migrations(migrations)
}
