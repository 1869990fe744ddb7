//! Databases that cannot be written: the error says so, and nothing is half done.
#![cfg(all(feature = "sqlite", feature = "postgres", feature = "testing"))]

mod support;

use std::time::Duration;

use sqlx::{
    PgConnection, SqliteConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use support::harness::Sqlite;
use tower::{Layer, ServiceExt, service_fn};
use tower_inbox::{
    BoxError, InboxLayer, Outcome,
    error::{StoreError, StoreErrorKind},
    inbox::{PgStore, Received, SqliteStore},
    testing::Harness,
};

#[tokio::test]
async fn a_read_only_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inbox.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.schema().up().await.unwrap();
    InboxLayer::new("billing", store.clone()).prepare().await.unwrap();
    store.pool().close().await;

    let options = SqliteConnectOptions::new().filename(&path).read_only(true);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    let service = InboxLayer::new("billing", SqliteStore::new(pool))
        .dedup_by(|id: &u64| *id)
        .layer(service_fn(async |_: Received<u64, SqliteConnection>| Ok::<_, BoxError>(())));
    let error = service.oneshot(7).await.unwrap_err();
    assert_kind(&error, StoreErrorKind::ReadOnly);
    assert!(error.to_string().contains("may not be written"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inbox.db");
    std::fs::write(
        &path,
        "this is a text, and a long one at that; SQLite would want a header here",
    )
    .unwrap();
    let error = SqliteStore::open(&path).await.unwrap_err();
    assert!(error.to_string().contains("inbox.db"), "{error}");
    let error = SqliteStore::open(folder.path().join("no/such/folder.db")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unreachable);
}

#[tokio::test]
async fn a_full_disk_stops_the_message_and_nothing_else() {
    let harness = Sqlite::start().await;
    let store = harness.store();
    let service = InboxLayer::new("billing", store.clone()).dedup_by(|id: &u64| *id).layer(
        service_fn(async |mut received: Received<u64, SqliteConnection>| {
            sqlx::query("insert into effect (name) values (?)")
                .bind("x".repeat(2000))
                .execute(&mut *received.tx)
                .await?;
            Ok::<_, BoxError>(())
        }),
    );
    assert_eq!(service.clone().oneshot(0).await.unwrap(), Outcome::Handled(()));
    // SQLite reports a limit on pages as it reports a full disk.
    let pages: i64 =
        sqlx::query_scalar("pragma page_count").fetch_one(harness.pool()).await.unwrap();
    limit_pages(&harness, pages + 4).await;
    let mut handled = 1;
    let full = loop {
        match service.clone().oneshot(handled).await {
            Ok(outcome) => assert_eq!(outcome, Outcome::Handled(())),
            Err(error) => break error,
        }
        handled += 1;
        assert!(handled < 10_000, "the disk never fills");
    };
    let source = full.to_string();
    assert!(source.contains("full"), "{source}");

    // Claims alone fill it, too: then it is the store that says so.
    let claims_only = InboxLayer::new("billing", store.clone())
        .dedup_by(|id: &u64| *id)
        .layer(service_fn(async |_: Received<u64, SqliteConnection>| Ok::<_, BoxError>(())));
    let mut message = 1_000_000;
    let full = loop {
        match claims_only.clone().oneshot(message).await {
            Ok(_) => message += 1,
            Err(error) => break error,
        }
        assert!(message < 1_100_000, "the disk never fills");
    };
    assert_kind(&full, StoreErrorKind::Full);

    // With room again the same messages are handled; the others are still known.
    limit_pages(&harness, 1_000_000).await;
    assert_eq!(service.clone().oneshot(handled).await.unwrap(), Outcome::Handled(()));
    assert_eq!(claims_only.oneshot(message).await.unwrap(), Outcome::Handled(()));
    for known in 0..handled {
        assert_eq!(service.clone().oneshot(known).await.unwrap(), Outcome::Duplicate);
    }
    let effects: i64 =
        sqlx::query_scalar("select count(*) from effect").fetch_one(harness.pool()).await.unwrap();
    assert_eq!(effects.cast_unsigned(), handled + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_waits_too_long_is_busy_and_not_a_duplicate() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inbox.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.schema().up().await.unwrap();
    let mut other = store.pool().acquire().await.unwrap().detach();
    sqlx::raw_sql("begin immediate").execute(&mut other).await.unwrap();

    let options =
        SqliteConnectOptions::new().filename(&path).busy_timeout(Duration::from_millis(100));
    let impatient = SqliteStore::new(SqlitePoolOptions::new().connect_lazy_with(options));
    let error = InboxLayer::new("billing", impatient).prepare().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Busy, "{error}");
}

#[sqlx::test(migrations = false)]
async fn a_read_only_server_is_refused(_: PgPoolOptions, options: PgConnectOptions) {
    let pool = PgPoolOptions::new().connect_with(options.clone()).await.unwrap();
    let store = PgStore::new(pool);
    store.schema().up().await.unwrap();
    InboxLayer::new("billing", store).prepare().await.unwrap();

    let read_only = options.options([("default_transaction_read_only", "on")]);
    let pool = PgPoolOptions::new().connect_with(read_only).await.unwrap();
    let service = InboxLayer::new("billing", PgStore::new(pool))
        .dedup_by(|id: &u64| *id)
        .layer(service_fn(async |_: Received<u64, PgConnection>| Ok::<_, BoxError>(())));
    assert_kind(&service.oneshot(7).await.unwrap_err(), StoreErrorKind::ReadOnly);
}

async fn limit_pages(harness: &Sqlite, pages: i64) {
    let sql = format!("pragma max_page_count = {pages}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(harness.pool()).await.unwrap();
}

fn assert_kind(error: &BoxError, kind: StoreErrorKind) {
    let found = error.downcast_ref::<StoreError>().unwrap_or_else(|| panic!("{error:?}"));
    assert_eq!(found.kind(), kind, "{error:?}");
}
