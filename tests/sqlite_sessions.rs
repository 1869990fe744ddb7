//! What handlers and cancellations do to an SQLite connection, and that none of it loses a message or
//! harms who gets the connection next.
#![cfg(all(feature = "sqlite", feature = "testing"))]

use std::{
    path::Path,
    pin::Pin,
    task::{Context, Waker},
    thread::sleep,
    time::Duration,
};

use sqlx::{
    Connection, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use tower::{Layer, ServiceExt, service_fn};
use tower_inbox::{
    BoxError, InboxLayer, Outcome,
    error::{StoreError, StoreErrorKind},
    hook::BoxFuture,
    inbox::{
        Received, SqliteStore, Window,
        store::{Claim, Claimed, ConsumerId, InboxStore},
    },
    key::InboxKey,
};

/// The insert of a claim fails in a way that SQLite does not roll back, and nobody waits to hear it.
#[tokio::test]
async fn a_dropped_claim_that_failed_leaves_no_transaction() {
    for polls in 1..5 {
        let folder = tempfile::tempdir().unwrap();
        let (store, consumer) = store(folder.path()).await;
        let away = "alter table tower_inbox_inbox rename to away";
        sqlx::raw_sql(away).execute(store.pool()).await.unwrap();
        drop_after(polls, store.claim(claim(consumer, 1)));
        assert_others_can_write(folder.path(), store.pool()).await;

        let back = "alter table away rename to tower_inbox_inbox";
        sqlx::raw_sql(back).execute(store.pool()).await.unwrap();
        let claimed = store.claim(claim(consumer, 1)).await.unwrap();
        assert!(matches!(claimed, Claimed::Won(_)), "{claimed:?}");
    }
}

/// A rollback is dropped while a savepoint of the handler is still open.
#[tokio::test]
async fn a_dropped_rollback_with_a_leaked_savepoint_leaves_no_transaction() {
    for polls in 1..6 {
        let folder = tempfile::tempdir().unwrap();
        let (store, consumer) = store(folder.path()).await;
        let Claimed::Won(mut tx) = store.claim(claim(consumer, 1)).await.unwrap() else {
            panic!("nobody else claims");
        };
        std::mem::forget(tx.connection_mut().begin().await.unwrap());
        drop_after(polls, tx.rollback());
        assert_others_can_write(folder.path(), store.pool()).await;
        let claimed = store.claim(claim(consumer, 1)).await.unwrap();
        assert!(matches!(claimed, Claimed::Won(_)), "{claimed:?}");
    }
}

/// A commit that is dropped has happened or has not, and the connection is as good as new.
#[tokio::test]
async fn a_dropped_commit_leaves_no_transaction() {
    for polls in 1..6 {
        let folder = tempfile::tempdir().unwrap();
        let (store, consumer) = store(folder.path()).await;
        let Claimed::Won(mut tx) = store.claim(claim(consumer, 1)).await.unwrap() else {
            panic!("nobody else claims");
        };
        let insert = "insert into effect values (1)";
        sqlx::query(insert).execute(tx.connection_mut()).await.unwrap();
        drop_after(polls, tx.commit());
        assert_others_can_write(folder.path(), store.pool()).await;
        let effects: i64 = sqlx::query_scalar("select count(*) from effect where message = 1")
            .fetch_one(store.pool())
            .await
            .unwrap();
        match store.claim(claim(consumer, 1)).await.unwrap() {
            Claimed::Won(_) => assert_eq!(effects, 0),
            Claimed::Duplicate(_) => assert_eq!(effects, 1),
            Claimed::InFlight => panic!("nobody is at work"),
        }
    }
}

#[tokio::test]
async fn a_handler_that_ends_the_transaction_itself_is_told() {
    for end in ["commit", "rollback"] {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = store(folder.path()).await;
        let service = InboxLayer::new("billing", store.clone()).dedup_by(|id: &u64| *id).layer(
            service_fn(move |mut received: Received<u64, SqliteConnection>| async move {
                if received.message == 7 {
                    sqlx::raw_sql(end).execute(&mut *received.tx).await?;
                }
                Ok::<_, BoxError>(())
            }),
        );
        let error = service.clone().oneshot(7).await.unwrap_err();
        let error: &StoreError = error.downcast_ref().unwrap();
        assert_eq!(error.kind(), StoreErrorKind::Aborted, "{end}: {error:?}");
        assert_eq!(service.oneshot(8).await.unwrap(), Outcome::Handled(()), "{end}");
        assert_others_can_write(folder.path(), store.pool()).await;
    }
}

async fn store(folder: &Path) -> (SqliteStore, ConsumerId) {
    let store = SqliteStore::open(folder.join("inbox.db")).await.unwrap();
    store.schema().up().await.unwrap();
    sqlx::query("create table effect (message integer)").execute(store.pool()).await.unwrap();
    let probe = InboxKey::from_bytes([0; 16]);
    let consumer = store.register("raw".into(), Window::default(), probe).await.unwrap();
    (store, consumer)
}

fn claim(consumer: ConsumerId, number: u8) -> Claim {
    Claim::new(consumer, InboxKey::from_bytes([number; 16]), Window::default(), Duration::ZERO)
}

/// Polls so many times, giving the connection's thread time in between, and drops.
fn drop_after<T>(polls: u32, mut future: BoxFuture<'static, T>) {
    for _ in 0..polls {
        let mut cx = Context::from_waker(Waker::noop());
        if Pin::new(&mut future).poll(&mut cx).is_ready() {
            return;
        }
        sleep(Duration::from_millis(20));
    }
}

/// What a bystander writes through the same pool is there for others, who can write, too.
async fn assert_others_can_write(folder: &Path, pool: &SqlitePool) {
    let write = "insert into effect values (99)";
    let seen = "select count(*) from effect where message = 99";
    sqlx::query(write).execute(pool).await.unwrap();
    let options = SqliteConnectOptions::new()
        .filename(folder.join("inbox.db"))
        .busy_timeout(Duration::from_secs(2));
    let other = SqlitePoolOptions::new().connect_with(options).await.unwrap();
    let count: i64 = sqlx::query_scalar(seen).fetch_one(&other).await.unwrap();
    assert_eq!(count, 1, "the bystander's write is lost");
    sqlx::query(write).execute(&other).await.expect("the file is locked");
    other.close().await;
}
