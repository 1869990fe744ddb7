//! Expired claims go by themselves once the sweeper runs, and nothing else does.
#![cfg(all(feature = "sqlite", feature = "postgres", feature = "testing"))]

mod support;

use std::time::{Duration, Instant};

use support::harness::{Postgres, Sqlite};
use tower_inbox::{
    inbox::{
        PgStore, SqliteStore, Window,
        retention::Sweeper,
        store::{Claim, Claimed, ConsumerId, InboxStore, SweepStore},
    },
    key::InboxKey,
    testing::Harness,
};

#[sqlx::test(migrations = false)]
async fn expired_rows_go_without_anyone_calling_purge_on_postgres(pool: sqlx::PgPool) {
    let store = PgStore::new(pool.clone());
    store.schema().up().await.unwrap();
    let left = || rows(&pool);
    expire_and_wait(&store, store.sweeper(), left).await;
}

#[tokio::test]
async fn expired_rows_go_without_anyone_calling_purge_on_sqlite() {
    let store = SqliteStore::in_memory().await.unwrap();
    store.schema().up().await.unwrap();
    let left = || async {
        let sql = "select count(*) from tower_inbox_inbox";
        sqlx::query_scalar(sql).fetch_one(store.pool()).await.unwrap()
    };
    expire_and_wait(&store, store.sweeper(), left).await;
}

/// By the database's own clock: a window of a second, a sweeper that nobody calls.
async fn expire_and_wait<St, F>(store: &St, sweeper: Sweeper<St>, left: impl Fn() -> F)
where
    St: InboxStore + SweepStore + 'static,
    F: Future<Output = i64>,
{
    let consumer = register(store).await;
    let hour = Duration::from_secs(3600);
    claim(store, consumer, 1, Duration::from_secs(1)).await;
    claim(store, consumer, 2, hour).await;
    assert_eq!(left().await, 2);

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn(sweeper.every(Duration::from_secs(1)).run(async {
        stopped.await.ok();
    }));
    let began = Instant::now();
    while left().await != 1 {
        assert!(began.elapsed() < Duration::from_secs(30), "the expired row stays");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(began.elapsed() >= Duration::from_millis(900), "not before its window is over");
    drop(stop);
    tokio::time::timeout(Duration::from_secs(5), task).await.expect("stops when told").unwrap();
}

#[sqlx::test(migrations = false)]
async fn many_batches_sweep_a_large_table_on_postgres(pool: sqlx::PgPool) {
    let harness = Postgres::start(pool.clone()).await;
    let store = harness.store();
    register(&store).await;
    // 100 000 rows are some 640 pages, ten batches; every other one expired.
    sqlx::query(
        "insert into tower_inbox.inbox (key, expires_at, consumer)
         select gen_random_uuid(), case when n % 2 = 0 then 1 else 2000000000 end, 1
         from generate_series(1, 100000) n",
    )
    .execute(&pool)
    .await
    .unwrap();
    let sweepers = [store.sweeper(), store.sweeper()].map(|sweeper| {
        let sweeper = sweeper.pause(Duration::from_millis(1));
        tokio::spawn(async move { sweeper.sweep().await.unwrap() })
    });
    let mut removed = 0;
    for sweeper in sweepers {
        removed += sweeper.await.unwrap();
    }
    assert_eq!(removed, 50_000);
    assert_eq!(rows(&pool).await, 50_000);
}

#[tokio::test]
async fn many_batches_sweep_a_large_table_on_sqlite() {
    let harness = Sqlite::start().await;
    let store = harness.store();
    sqlx::query(
        "with recursive n(n) as (select 1 union all select n + 1 from n where n < 20001)
         insert into tower_inbox_inbox (consumer, key, expires_at)
         select n % 3 + 1, randomblob(16), case when n % 2 = 0 then 1 else 2000000000 end from n",
    )
    .execute(harness.pool())
    .await
    .unwrap();
    let removed = store.sweeper().pause(Duration::ZERO).sweep().await.unwrap();
    assert_eq!(removed, 10_000);
    let left: i64 = sqlx::query_scalar("select count(*) from tower_inbox_inbox")
        .fetch_one(harness.pool())
        .await
        .unwrap();
    assert_eq!(left, 10_001);
}

async fn register<St: InboxStore>(store: &St) -> ConsumerId {
    let probe = InboxKey::from_bytes([0; 16]);
    store.register("billing".into(), Window::default(), probe).await.unwrap()
}

async fn claim<St: InboxStore>(store: &St, consumer: ConsumerId, number: u8, window: Duration) {
    let window = Window::try_from(window).unwrap();
    let key = InboxKey::from_bytes([number; 16]);
    let claim = Claim::new(consumer, key, window, Duration::from_secs(1));
    match store.claim(claim).await.unwrap() {
        Claimed::Won(tx) => tx.commit().await.unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn rows(pool: &sqlx::PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from tower_inbox.inbox").fetch_one(pool).await.unwrap()
}
