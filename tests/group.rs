//! Messages that share a commit: each keeps its own outcome, whatever happens to the others.
#![cfg(all(feature = "sqlite", feature = "postgres", feature = "testing"))]

mod support;

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::join_all};
use sqlx::{Connection, SqliteConnection};
use support::counting::Counting;
use tokio::sync::Notify;
use tower::{Service, ServiceExt, service_fn};
use tower_inbox::{
    BoxError, InboxLayer, Outcome,
    error::{StoreError, StoreErrorKind},
    hook::BoxFuture,
    inbox::{
        ByFields, DeadLetterPolicy, DeadLettered, DriverGone, GroupInbox, KeyAbsent, Received,
        SqliteStore, TransactionNotReturned, WithoutKey,
    },
};

type Group = GroupInbox<u64, u64, ByFields<ById, u64>, SqliteConnection>;
type ById = fn(&u64) -> Option<u64>;

#[tokio::test]
async fn what_arrives_together_is_committed_together() {
    let store = Counting::new(store().await);
    let (inbox, driver) = layer(store.clone()).grouped(service_fn(write));
    // Calls wait for the driver, so all of them are there when it begins.
    let calls: Vec<_> = (1..=5).map(|id| inbox.clone().oneshot(id)).collect();
    let calls = tokio::spawn(join_all(calls));
    tokio::task::yield_now().await;
    tokio::spawn(driver);
    for (id, outcome) in (1..).zip(calls.await.unwrap()) {
        assert_eq!(outcome.unwrap(), Outcome::Handled(id * 10));
    }
    assert_eq!(store.take(), "begin message message message message message");
    assert_eq!(inbox.clone().oneshot(3).await.unwrap(), Outcome::Duplicate);
    assert_eq!(inbox.oneshot(6).await.unwrap(), Outcome::Handled(60));
    assert_eq!(effects(store.inner()).await, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn one_message_that_fails_is_undone_alone() {
    let store = store().await;
    let (inbox, driver) = layer(store.clone()).grouped(service_fn(write_and_fail));
    tokio::spawn(driver);
    let outcomes = join_all((1..=4).map(|id| inbox.clone().oneshot(id))).await;
    for (id, outcome) in (1..).zip(outcomes) {
        if id == FAILS {
            assert!(outcome.unwrap_err().is::<Oops>());
        } else {
            assert_eq!(outcome.unwrap(), Outcome::Handled(id * 10));
        }
    }
    assert_eq!(effects(&store).await, [1, 3, 4]);
    // Its claim went with it.
    let (inbox, driver) = layer(store.clone()).grouped(service_fn(write));
    tokio::spawn(driver);
    assert_eq!(inbox.oneshot(FAILS).await.unwrap(), Outcome::Handled(FAILS * 10));
    assert_eq!(effects(&store).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn equal_messages_that_arrive_together_are_handled_once() {
    let store = store().await;
    let fails_first = Arc::new(AtomicU64::new(0));
    let (inbox, driver) = layer(store.clone()).grouped(service_fn({
        let calls = Arc::clone(&fails_first);
        move |received: Received<u64, SqliteConnection>| {
            let first = calls.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                let handled = write(received).await?;
                if first { Err(Box::new(Oops) as BoxError) } else { Ok(handled) }
            }
        }
    }));
    tokio::spawn(driver);
    let outcomes = join_all([7, 7, 7].map(|id| inbox.clone().oneshot(id))).await;
    let mut handled = 0;
    let mut failed = 0;
    for outcome in outcomes {
        match outcome {
            Ok(Outcome::Handled(_)) => handled += 1,
            Ok(Outcome::Duplicate) => {}
            Err(error) => {
                assert!(error.is::<Oops>(), "{error}");
                failed += 1;
            }
        }
    }
    assert_eq!((handled, failed), (1, 1), "the one after the failure got its turn");
    assert_eq!(effects(&store).await, [7]);
}

#[tokio::test]
async fn messages_without_a_key_are_refused_or_pass_through() {
    let store = store().await;
    let (inbox, driver) = layer(store.clone()).grouped(service_fn(write));
    tokio::spawn(driver);
    assert!(inbox.oneshot(NO_KEY).await.unwrap_err().is::<KeyAbsent>());
    let layer = layer(store.clone()).without_key(WithoutKey::PassThrough);
    let (inbox, driver) = layer.grouped(service_fn(write));
    tokio::spawn(driver);
    for outcome in join_all([NO_KEY, 1, NO_KEY].map(|id| inbox.clone().oneshot(id))).await {
        assert!(!outcome.unwrap().is_duplicate());
    }
    assert_eq!(effects(&store).await, [NO_KEY, NO_KEY, 1]);
}

/// A caller that leaves takes its handler along, and nobody else.
#[tokio::test]
async fn a_dropped_call_is_undone_alone() {
    let store = store().await;
    let began = Arc::new(Notify::new());
    let (inbox, driver) = layer(store.clone()).grouped(service_fn({
        let began = Arc::clone(&began);
        move |received: Received<u64, SqliteConnection>| {
            let began = Arc::clone(&began);
            async move {
                let stuck = received.message == 2;
                let handled = write(received).await?;
                if stuck {
                    began.notify_one();
                    std::future::pending::<()>().await;
                }
                Ok::<_, BoxError>(handled)
            }
        }
    }));
    let others = tokio::spawn(join_all([1, 3].map(|id| inbox.clone().oneshot(id))));
    let stuck = tokio::spawn(inbox.clone().oneshot(2));
    tokio::task::yield_now().await;
    tokio::spawn(driver);
    began.notified().await;
    stuck.abort();
    for outcome in others.await.unwrap() {
        assert!(matches!(outcome.unwrap(), Outcome::Handled(_)));
    }
    assert_eq!(effects(&store).await, [1, 3]);

    // One that left before its turn is never begun.
    let (inbox, driver) = layer(store.clone()).grouped(service_fn(write));
    let mut left = inbox.clone();
    drop(left.call(8));
    let stays = tokio::spawn(inbox.oneshot(9));
    tokio::task::yield_now().await;
    tokio::spawn(driver);
    assert_eq!(stays.await.unwrap().unwrap(), Outcome::Handled(90));
    assert_eq!(effects(&store).await, [1, 3, 9]);
}

#[tokio::test]
async fn a_panic_reaches_its_own_caller_only() {
    let store = store().await;
    let (inbox, driver) = layer(store.clone()).grouped(service_fn(
        async |received: Received<u64, SqliteConnection>| {
            let fails = received.message == FAILS;
            let handled = write(received).await;
            assert!(!fails, "the handler has a bug");
            handled
        },
    ));
    tokio::spawn(driver);
    let calls = (1..=3).map(|id| AssertUnwindSafe(inbox.clone().oneshot(id)).catch_unwind());
    for (id, outcome) in (1..).zip(join_all(calls).await) {
        match outcome {
            Ok(outcome) => assert_eq!(outcome.unwrap(), Outcome::Handled(id * 10)),
            Err(panic) => {
                assert_eq!(id, FAILS);
                assert_eq!(panic.downcast_ref(), Some(&"the handler has a bug"));
            }
        }
    }
    assert_eq!(effects(&store).await, [1, 3]);
    assert_eq!(inbox.oneshot(4).await.unwrap(), Outcome::Handled(40));
}

#[tokio::test]
async fn without_a_driver_calls_fail_and_nothing_is_left() {
    let store = store().await;
    let began = Arc::new(Notify::new());
    let (inbox, driver) = layer(store.clone()).grouped(service_fn({
        let began = Arc::clone(&began);
        move |received: Received<u64, SqliteConnection>| {
            let began = Arc::clone(&began);
            async move {
                let handled = write(received).await?;
                began.notify_one();
                std::future::pending::<()>().await;
                Ok::<_, BoxError>(handled)
            }
        }
    }));
    let driver = tokio::spawn(driver);
    let call = tokio::spawn(inbox.clone().oneshot(1));
    began.notified().await;
    driver.abort();
    assert!(call.await.unwrap().unwrap_err().is::<DriverGone>());
    assert!(inbox.clone().oneshot(2).await.unwrap_err().is::<DriverGone>());
    let (again, driver) = layer(store.clone()).grouped(service_fn(write));
    let driver = tokio::spawn(driver);
    assert_eq!(again.oneshot(1).await.unwrap(), Outcome::Handled(10));
    assert_eq!(effects(&store).await, [1]);
    // It ends when nobody can send any more.
    driver.await.unwrap();
}

/// A handler that breaks the transaction of its group: nobody is told to have been handled who was not.
#[tokio::test]
async fn a_broken_transaction_fails_the_group() {
    for how in ["commit", "rollback", "kept", "leaked"] {
        let store = store().await;
        let kept = Arc::new(Mutex::new(Vec::new()));
        let handler = service_fn({
            let kept = Arc::clone(&kept);
            move |mut received: Received<u64, SqliteConnection>| {
                let kept = Arc::clone(&kept);
                async move {
                    let message = received.message;
                    insert(&mut received.tx, message).await?;
                    if message == FAILS {
                        match how {
                            "kept" => kept.lock().unwrap().push(received.tx),
                            "leaked" => std::mem::forget(received.tx.begin().await?),
                            end => {
                                sqlx::raw_sql(end).execute(&mut *received.tx).await?;
                            }
                        }
                    }
                    Ok::<_, BoxError>(message * 10)
                }
            }
        });
        let (inbox, driver) = layer(store.clone()).grouped(handler);
        let calls: Vec<_> = (1..=3).map(|id| inbox.clone().oneshot(id)).collect();
        let calls = tokio::spawn(join_all(calls));
        tokio::task::yield_now().await;
        let driver = tokio::spawn(driver);
        for (id, outcome) in (1..).zip(calls.await.unwrap()) {
            let error = outcome.unwrap_err();
            if how == "kept" && id == FAILS {
                assert!(error.is::<TransactionNotReturned>(), "{how} {id}: {error:?}");
            } else {
                let kind = error.downcast_ref::<StoreError>().map(StoreError::kind);
                assert_eq!(kind, Some(StoreErrorKind::Aborted), "{how} {id}: {error:?}");
            }
        }
        kept.lock().unwrap().clear();
        drop(inbox);
        driver.await.unwrap();
        // The redeliveries find out: each effect is there once in the end.
        let (inbox, driver) = layer(store.clone()).grouped(service_fn(write));
        tokio::spawn(driver);
        for outcome in join_all((1..=3).map(|id| inbox.clone().oneshot(id))).await {
            let _ = outcome.unwrap();
        }
        assert_eq!(effects(&store).await, [1, 2, 3], "{how}");
    }
}

#[tokio::test]
async fn a_message_that_fails_too_often_is_buried() {
    let store = store().await;
    let layer = layer(store.clone()).dead_letters(DeadLetterPolicy::after(2));
    let (inbox, driver) = layer.grouped(service_fn(write_and_fail));
    tokio::spawn(driver);
    for turn in 0..3_u64 {
        let first = 10 * (turn + 1);
        let calls = [first, FAILS, first + 1].map(|id| inbox.clone().oneshot(id));
        let outcomes = join_all(calls).await;
        assert!(matches!(outcomes[0], Ok(Outcome::Handled(_))), "{outcomes:?}");
        assert!(matches!(outcomes[2], Ok(Outcome::Handled(_))), "{outcomes:?}");
        let error = outcomes[1].as_ref().unwrap_err();
        assert_eq!(error.is::<DeadLettered>(), turn > 0, "{error:?}");
    }
    let attempts: i64 = sqlx::query_scalar("select count(*) from tower_inbox_attempt")
        .fetch_one(store.pool())
        .await
        .unwrap();
    assert_eq!(attempts, 0, "nothing is left of what was handled or buried");
}

/// Sixteen callers with the same messages in different orders; one handler in ten fails, one call in
/// ten is dropped: one effect each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_failures_and_dropped_calls_take_effect_once() {
    const MESSAGES: u64 = 300;
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("inbox.db")).await.unwrap();
    prepare(&store).await;
    let luck = Arc::new(AtomicU64::new(0));
    let (inbox, driver) = layer(store.clone()).grouped(service_fn({
        let luck = Arc::clone(&luck);
        move |received: Received<u64, SqliteConnection>| {
            let fails = luck.fetch_add(1, Ordering::Relaxed) % 10 == 3;
            let writing = write(received);
            async move {
                let handled = writing.await?;
                tokio::task::yield_now().await;
                if fails { Err(Box::new(Oops) as BoxError) } else { Ok(handled) }
            }
        }
    }));
    let driver = tokio::spawn(driver);
    let callers: Vec<_> = (0..16_u64)
        .map(|caller| tokio::spawn(deliver_all(inbox.clone(), caller, MESSAGES)))
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    drop(inbox);
    driver.await.unwrap();
    let mut counts = BTreeMap::new();
    for effect in effects(&store).await {
        *counts.entry(effect).or_insert(0) += 1;
    }
    assert_eq!(counts, (0..MESSAGES).map(|id| (id, 1)).collect());
}

async fn deliver_all(inbox: Group, caller: u64, messages: u64) {
    for at in 0..messages {
        let id = if caller.is_multiple_of(2) { at } else { messages - 1 - at };
        let id = (id + caller * 17) % messages;
        let mut tries = 0;
        loop {
            tries += 1;
            let call = inbox.clone().oneshot(id);
            let patience = Duration::from_micros(100 * ((id + caller + tries) % 7));
            if (at + caller + tries).is_multiple_of(10) {
                if let Ok(Ok(_)) = tokio::time::timeout(patience, call).await {
                    break;
                }
            } else if call.await.is_ok() {
                break;
            }
        }
    }
}

fn layer<St>(store: St) -> InboxLayer<St, ByFields<ById, u64>>
where
    St: tower_inbox::inbox::store::InboxStore,
{
    InboxLayer::new("billing", store).dedup_by(by_id as ById)
}

fn by_id(id: &u64) -> Option<u64> {
    (*id != NO_KEY).then_some(*id)
}

fn write(received: Received<u64, SqliteConnection>) -> BoxFuture<'static, Result<u64, BoxError>> {
    Box::pin(async move {
        let (message, mut tx) = received.into_parts();
        insert(&mut tx, message).await?;
        Ok(message.wrapping_mul(10))
    })
}

fn write_and_fail(
    received: Received<u64, SqliteConnection>,
) -> BoxFuture<'static, Result<u64, BoxError>> {
    Box::pin(async move {
        let fails = received.message == FAILS;
        let handled = write(received).await?;
        if fails { Err(Box::new(Oops) as BoxError) } else { Ok(handled) }
    })
}

async fn insert(connection: &mut SqliteConnection, message: u64) -> Result<(), BoxError> {
    sqlx::query("insert into effect (name) values (?)")
        .bind(message.cast_signed())
        .execute(connection)
        .await?;
    Ok(())
}

async fn store() -> SqliteStore {
    let store = SqliteStore::in_memory().await.unwrap();
    prepare(&store).await;
    store
}

async fn prepare(store: &SqliteStore) {
    store.schema().up().await.unwrap();
    sqlx::query("create table effect (name integer not null)").execute(store.pool()).await.unwrap();
}

async fn effects(store: &SqliteStore) -> Vec<u64> {
    let effects: Vec<i64> = sqlx::query_scalar("select name from effect order by name")
        .fetch_all(store.pool())
        .await
        .unwrap();
    effects.into_iter().map(i64::cast_unsigned).collect()
}

#[derive(Debug)]
struct Oops;

impl std::fmt::Display for Oops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the handler failed on purpose")
    }
}

impl std::error::Error for Oops {}

const FAILS: u64 = 2;
const NO_KEY: u64 = u64::MAX;
