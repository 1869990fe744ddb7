//! Batches as a piece of tower, and under failures: readiness, dropped futures, parts, hooks, commits
//! of unknown outcome, and what is known of a message without a claim.
#![cfg(all(feature = "sqlite", feature = "postgres", feature = "testing"))]

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sqlx::{PgConnection, PgPool, SqliteConnection};
use support::{counting::Counting, harness::Postgres};
use tower::{Layer, ServiceExt, service_fn};
use tower_inbox::{
    BoxError, InboxLayer, Outcome,
    error::{StoreError, StoreErrorKind},
    hook::{BoxFuture, CommitHook, Decision, Delivery},
    inbox::{
        BatchInboxLayer, ByFields, DeadLetterPolicy, DeadLettered, InFlight, KeyReused, Received,
        SqliteStore, TransactionNotReturned, store::BatchStore,
    },
    testing::{Clock, Harness},
};
use tower_test::mock;

type Received64<C> = Received<Vec<u64>, C>;

#[tokio::test]
async fn readiness_is_the_inner_services() {
    let layer = layer(store().await);
    type Mock = mock::Mock<Received64<SqliteConnection>, ()>;
    let (mut service, mut handle) = mock::spawn_with(move |inner: Mock| layer.layer(inner));
    handle.allow(0);
    assert!(service.poll_ready().is_pending());
    handle.allow(1);
    assert!(service.poll_ready().is_ready());

    let response = tokio::spawn(service.call(vec![1, 2, 1]));
    let (received, reply) = handle.next_request().await.unwrap();
    assert_eq!(received.message, [1, 2]);
    drop(received);
    reply.send_response(());
    assert_eq!(words(response.await.unwrap().unwrap()), "handled handled duplicate");

    // The clone that took its place has no readiness of its own yet.
    handle.allow(0);
    assert!(service.poll_ready().is_pending());
}

#[tokio::test]
async fn each_call_after_the_first_waits_until_a_clone_is_ready() {
    let store = store().await;
    let layer = layer(store.clone());
    type Mock = mock::Mock<Received64<SqliteConnection>, ()>;
    let (mut service, mut handle) = mock::spawn_with(move |inner: Mock| layer.layer(inner));
    handle.allow(1);
    assert!(service.poll_ready().is_ready());
    let mut response = tokio::spawn(service.call(vec![1, 2]));
    let (received, reply) = handle.next_request().await.unwrap();
    drop(received);
    reply.send_error("out of luck");

    // While nobody is ready no transaction is open: the only connection is free.
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut response).await.is_err());
    sqlx::query("insert into effect (name) values (0)").execute(store.pool()).await.unwrap();
    for message in [1, 2] {
        handle.allow(1);
        let (received, reply) = handle.next_request().await.unwrap();
        assert_eq!(received.message, [message]);
        drop(received);
        reply.send_response(());
    }
    assert_eq!(words(response.await.unwrap().unwrap()), "handled handled");
}

#[tokio::test]
async fn an_empty_batch_asks_nobody() {
    let store = store().await;
    store.pool().close().await;
    let service = layer(store).layer(service_fn(unreachable::<SqliteConnection>));
    assert!(service.oneshot(Vec::new()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_fails_every_message() {
    let store = store().await;
    let layer = layer(store.clone());
    store.pool().close().await;
    let service = layer.layer(service_fn(unreachable::<SqliteConnection>));
    for outcome in service.oneshot(vec![1, 2]).await.unwrap() {
        assert_eq!(kind(outcome), StoreErrorKind::Unreachable);
    }
}

#[tokio::test]
async fn a_large_batch_is_handled_in_parts() {
    let store = store().await;
    let calls = Calls::default();
    let service = layer(store.clone()).at_most(3).layer(service_fn(calls.writing()));
    let batch: Vec<u64> = (1..=7).chain([1, 7]).collect();
    let outcomes = service.clone().oneshot(batch).await.unwrap();
    let expected = format!("{}duplicate duplicate", "handled ".repeat(7));
    assert_eq!(words(outcomes), expected);
    assert_eq!(calls.take(), [vec![1, 2, 3], vec![4, 5, 6], vec![7]]);

    // A part that fails takes only itself apart.
    let poisoned = layer(store.clone()).at_most(2).layer(service_fn(calls.poisoned(12)));
    let outcomes = poisoned.oneshot(vec![10, 11, 12, 13, 14]).await.unwrap();
    assert_eq!(words(outcomes), "handled handled failed handled handled");
    let expected = [vec![10, 11], vec![12, 13], vec![12], vec![13], vec![14]];
    assert_eq!(calls.take(), expected);
    assert_eq!(effects(&store).await, [1, 2, 3, 4, 5, 6, 7, 10, 11, 13, 14]);
}

#[tokio::test]
async fn hooks_run_once_for_each_message() {
    let store = store().await;
    let hears = Hears::default();
    let layer = InboxLayer::new("billing", store.clone())
        .dedup_by(by_id as ById)
        .hook(hears.clone())
        .batched();
    let calls = Calls::default();
    let service = layer.layer(service_fn(calls.poisoned(2)));
    let outcomes = service.clone().oneshot(vec![1, 2, 3, 1, 2]).await.unwrap();
    assert_eq!(words(outcomes), "handled failed handled duplicate in_flight");
    let expected = "before(1) Handled(1) Failed(2) before(3) Handled(3) Duplicate(1) InFlight(2)";
    assert_eq!(hears.take(&store).await, expected);

    let service = layer.layer(service_fn(calls.writing()));
    let outcomes = service.oneshot(vec![2, 4, 1]).await.unwrap();
    assert_eq!(words(outcomes), "handled handled duplicate");
    // What needs no handling is told when the transaction has ended.
    let expected = "before(2) before(4) Handled(2) Handled(4) Duplicate(1)";
    assert_eq!(hears.take(&store).await, expected);
    assert_eq!(effects(&store).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_hook_that_fails_is_an_error_of_its_message() {
    let store = store().await;
    let service = InboxLayer::new("billing", store.clone())
        .dedup_by(by_id as ById)
        .hook(Refuses::default())
        .batched()
        .layer(service_fn(Calls::default().writing()));
    // It refuses the second message, once: they fail together, and one by one they do not.
    assert_eq!(words(service.oneshot(vec![1, 2]).await.unwrap()), "handled handled");
    assert_eq!(effects(&store).await, [1, 2]);
}

#[tokio::test]
async fn a_transaction_that_is_not_returned_fails_all_and_is_not_tried_again() {
    let store = store().await;
    let kept = Arc::new(Mutex::new(Vec::new()));
    let service = layer(store.clone()).layer(service_fn({
        let kept = Arc::clone(&kept);
        move |received: Received64<SqliteConnection>| {
            kept.lock().unwrap().push(received.tx);
            async { Ok::<_, BoxError>(()) }
        }
    }));
    for outcome in service.oneshot(vec![1, 2]).await.unwrap() {
        assert!(outcome.unwrap_err().is::<TransactionNotReturned>());
    }
    assert_eq!(kept.lock().unwrap().len(), 1);
    kept.lock().unwrap().clear();
    let service = layer(store.clone()).layer(service_fn(Calls::default().writing()));
    assert_eq!(words(service.oneshot(vec![1, 2]).await.unwrap()), "handled handled");
}

/// Polls a batch n times and drops it, for every n until it is done; one of its messages fails, so it
/// is handled together and then one by one. Whatever is left behind, the next delivery decides rightly
/// and each effect is there once.
#[tokio::test]
async fn a_future_dropped_at_each_await_leaves_nothing_doubled_or_lost() {
    let store = store().await;
    let mut dropped = 0;
    for polls in 0.. {
        let batch: Vec<u64> = (1..=3).map(|at| polls * 10 + at).collect();
        let calls = Calls::default();
        let service = layer(store.clone()).layer(service_fn(calls.poisoned(batch[1])));
        let mut delivery = Box::pin(service.oneshot(batch.clone()));
        let done = poll_times(&mut delivery, polls).await;
        drop(delivery);
        dropped += u64::from(!done);
        let service = layer(store.clone()).layer(service_fn(calls.writing()));
        for outcome in service.oneshot(batch.clone()).await.unwrap() {
            // `Err` would be a connection left unusable for others.
            let _ = outcome.unwrap();
        }
        let mut all = effects(&store).await;
        all.retain(|effect| batch.contains(effect));
        assert_eq!(all, batch, "dropped after {polls} polls");
        if done {
            break;
        }
    }
    assert!(dropped >= 3, "only {dropped} places to be dropped at");
}

/// The connection breaks during the commit of a batch: nobody knows, so nothing is tried again, and
/// the redelivery finds out.
#[sqlx::test(migrations = false)]
async fn a_commit_of_unknown_outcome_is_not_tried_again(pool: PgPool) {
    let harness = Postgres::start(pool.clone()).await;
    let hears = Hears::default();
    let calls = Calls::default();
    let breaks = Arc::new(AtomicUsize::new(1));
    let layer = InboxLayer::new("billing", harness.store())
        .dedup_by(by_id as ById)
        .hook(hears.clone())
        .hook(Breaks { at: Arc::clone(&breaks), pool })
        .batched();
    let service = layer.layer(service_fn(calls.writing_to_postgres()));
    for outcome in service.clone().oneshot(vec![1, 2]).await.unwrap() {
        assert_eq!(kind(outcome), StoreErrorKind::Unreachable);
    }
    assert_eq!(calls.take(), [vec![1, 2]]);
    assert_eq!(hears.decisions(), [Decision::Unknown; 2]);
    let outcomes = service.oneshot(vec![1, 2]).await.unwrap();
    assert_eq!(words(outcomes), "handled handled");
    assert_eq!((harness.written("1").await, harness.written("2").await), (1, 1));
}

/// What others hold is in flight at once, without holding up the rest of the batch, and no later than
/// the wait that was asked for.
#[sqlx::test(migrations = false)]
async fn what_others_hold_is_in_flight(pool: PgPool) {
    let harness = Postgres::start(pool).await;
    let (holds, held) =
        (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let single =
        InboxLayer::new("billing", harness.store()).dedup_by(|id: &u64| *id).layer(service_fn({
            let (holds, held) = (Arc::clone(&holds), Arc::clone(&held));
            move |_: Received<u64, PgConnection>| {
                let (holds, held) = (Arc::clone(&holds), Arc::clone(&held));
                async move {
                    held.notify_one();
                    holds.notified().await;
                    Ok::<_, BoxError>(())
                }
            }
        }));
    let holder = tokio::spawn(single.clone().oneshot(2));
    held.notified().await;
    let calls = Calls::default();
    for wait in [Duration::ZERO, Duration::from_millis(50)] {
        let service = InboxLayer::new("billing", harness.store())
            .dedup_by(by_id as ById)
            .in_flight_wait(wait)
            .batched()
            .layer(service_fn(calls.writing_to_postgres()));
        let began = std::time::Instant::now();
        let first = 10 + u64::try_from(wait.as_millis()).unwrap();
        let outcomes = service.oneshot(vec![first, 2, first + 1]).await.unwrap();
        assert_eq!(words(outcomes), "handled in_flight handled");
        let took = began.elapsed();
        assert!(took >= wait && took < wait + Duration::from_secs(1), "{took:?}");
    }
    // One that waits for longer hears how it ended.
    let service = InboxLayer::new("billing", harness.store())
        .dedup_by(by_id as ById)
        .in_flight_wait(Duration::from_secs(20))
        .batched()
        .layer(service_fn(calls.writing_to_postgres()));
    let waits = tokio::spawn(service.oneshot(vec![3, 2]));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waits.is_finished());
    holds.notify_one();
    assert_eq!(holder.await.unwrap().unwrap(), Outcome::Handled(()));
    assert_eq!(words(waits.await.unwrap().unwrap()), "handled duplicate");
}

#[tokio::test]
async fn the_same_key_with_another_body_is_refused_in_a_batch_as_well() {
    let store = store().await;
    let layer = InboxLayer::new("billing", store.clone())
        .dedup_by(|message: &(u64, &'static str)| message.0)
        .fingerprint(|message: &(u64, &'static str)| message.1.as_bytes().to_vec())
        .batched();
    let service =
        layer.layer(service_fn(async |_: Received<Vec<(u64, &'static str)>, SqliteConnection>| {
            Ok::<_, BoxError>(())
        }));
    let outcomes = service.clone().oneshot(vec![(1, "a"), (1, "a"), (1, "b")]).await.unwrap();
    let [Ok(Outcome::Handled(())), Ok(Outcome::Duplicate), Err(reused)] = &outcomes[..] else {
        panic!("{outcomes:?}");
    };
    assert!(reused.is::<KeyReused>());
    let outcomes = service.oneshot(vec![(2, "a"), (1, "a"), (1, "c")]).await.unwrap();
    let [Ok(Outcome::Handled(())), Ok(Outcome::Duplicate), Err(reused)] = &outcomes[..] else {
        panic!("{outcomes:?}");
    };
    assert!(reused.is::<KeyReused>());
}

/// A message that failed is handled by itself the next time, and is buried in the end; the others are
/// not rolled back for it again.
#[tokio::test]
async fn a_message_that_failed_before_is_set_aside() {
    for starts in [true, false] {
        let store = store().await;
        let calls = Calls::default();
        let policy = DeadLetterPolicy::after(3).count_starts(starts);
        let layer = InboxLayer::new("billing", store.clone())
            .dedup_by(by_id as ById)
            .dead_letters(policy)
            .batched();
        let service = layer.layer(service_fn(calls.poisoned(2)));
        let outcomes = service.clone().oneshot(vec![1, 2, 3]).await.unwrap();
        assert_eq!(words(outcomes), "handled failed handled");
        assert_eq!(calls.take(), [vec![1, 2, 3], vec![1], vec![2], vec![3]]);

        let outcomes = service.clone().oneshot(vec![4, 2, 5]).await.unwrap();
        assert_eq!(words(outcomes), "handled failed handled");
        assert_eq!(calls.take(), [vec![4, 5], vec![2]]);

        for _ in 0..2 {
            let outcomes = service.clone().oneshot(vec![2, 6, 7, 2]).await.unwrap();
            for outcome in [&outcomes[0], &outcomes[3]] {
                let dead = outcome.as_ref().unwrap_err().downcast_ref::<DeadLettered>().unwrap();
                assert_eq!((dead.attempts.started, dead.attempts.finished), (3, 3));
            }
        }
        assert_eq!(calls.take(), [vec![6, 7], vec![2]]);
        assert_eq!(effects(&store).await, [1, 3, 4, 5, 6, 7]);
        let attempts: i64 = sqlx::query_scalar("select count(*) from tower_inbox_attempt")
            .fetch_one(store.pool())
            .await
            .unwrap();
        assert_eq!(attempts, 0, "nothing is left of what was handled");
    }
}

/// A batch of which nothing was heard again is handled one by one: which message it was is then told
/// from the others, and no innocent one is counted.
#[tokio::test]
async fn a_batch_that_did_not_come_back_is_handled_one_by_one() {
    let store = store().await;
    let layer = InboxLayer::new("billing", store.clone())
        .dedup_by(by_id as ById)
        .dead_letters(DeadLetterPolicy::after(1))
        .batched();
    let stuck = layer.layer(service_fn(async |_: Received64<SqliteConnection>| {
        std::future::pending::<Result<(), BoxError>>().await
    }));
    let died = tokio::time::timeout(Duration::from_millis(200), stuck.oneshot(vec![1, 2])).await;
    assert!(died.is_err());
    let calls = Calls::default();
    let service = layer.layer(service_fn(calls.writing()));
    let outcomes = service.oneshot(vec![1, 2, 3, 4]).await.unwrap();
    assert_eq!(words(outcomes), "handled handled handled handled");
    assert_eq!(calls.take(), [vec![3, 4], vec![1], vec![2]]);
}

/// A key whose commit this process saw is a duplicate without a round trip: here, without a database.
#[tokio::test]
async fn what_is_remembered_needs_no_database() {
    let store = store().await;
    let layer = InboxLayer::new("billing", store.clone()).dedup_by(by_id as ById).remember(100);
    let single = layer
        .clone()
        .layer(service_fn(async |_: Received<u64, SqliteConnection>| Ok::<_, BoxError>(())));
    let leased = layer
        .clone()
        .leased(Duration::from_secs(30))
        .layer(service_fn(async |_: tower_inbox::inbox::Leased<u64>| Ok::<_, BoxError>(())));
    let batch = layer.clone().batched().layer(service_fn(Calls::default().writing()));
    assert_eq!(single.clone().oneshot(1).await.unwrap(), Outcome::Handled(()));
    assert_eq!(leased.clone().oneshot(2).await.unwrap(), Outcome::Handled(()));
    assert_eq!(words(batch.clone().oneshot(vec![3, 4]).await.unwrap()), "handled handled");
    store.pool().close().await;

    // Clones share what they know.
    for id in 1..=4 {
        assert_eq!(single.clone().oneshot(id).await.unwrap(), Outcome::Duplicate);
        assert_eq!(leased.clone().oneshot(id).await.unwrap(), Outcome::Duplicate);
    }
    let outcomes = batch.oneshot(vec![4, 3, 2, 1, 4]).await.unwrap();
    assert_eq!(words(outcomes), ["duplicate"; 5].join(" "));
    // And nothing else is known, least of all what is new.
    assert_eq!(kind(single.clone().oneshot(5).await), StoreErrorKind::Unreachable);
}

/// What failed, was rolled back, or belongs to others is not remembered; nor is anything for longer
/// than it was allowed.
#[tokio::test]
async fn only_commits_are_remembered_and_not_for_long() {
    let clock = Clock::at_unix_millis(1_780_000_000_000);
    let store = store().await.with_clock(clock.clone());
    let ttl = Duration::from_millis(400);
    let layer = InboxLayer::new("billing", store.clone())
        .dedup_by(by_id as ById)
        .window(Duration::from_secs(60))
        .remember(100)
        .local_ttl(ttl);
    let fails = layer.clone().layer(service_fn(async |_: Received<u64, SqliteConnection>| {
        Err::<(), BoxError>("out of luck".into())
    }));
    let calls = Arc::new(AtomicUsize::new(0));
    let service = layer.layer(service_fn({
        let calls = Arc::clone(&calls);
        move |_: Received<u64, SqliteConnection>| {
            calls.fetch_add(1, Ordering::SeqCst);
            async { Ok::<_, BoxError>(()) }
        }
    }));
    fails.oneshot(1).await.unwrap_err();
    let began = std::time::Instant::now();
    assert_eq!(service.clone().oneshot(1).await.unwrap(), Outcome::Handled(()));
    // Somebody makes the database forget it: this process does not know for a while.
    sqlx::query("delete from tower_inbox_inbox").execute(store.pool()).await.unwrap();
    let second = service.clone().oneshot(1).await.unwrap();
    if began.elapsed() < ttl {
        assert_eq!(second, Outcome::Duplicate);
    }
    tokio::time::sleep(ttl).await;
    assert_eq!(service.clone().oneshot(1).await.unwrap(), Outcome::Handled(()));
    assert!(calls.load(Ordering::SeqCst) >= 2);
}

/// A look comes before the claim, and spares it for what is handled.
#[tokio::test]
async fn read_first_claims_nothing_for_duplicates() {
    let store = Counting::new(store().await);
    let layer = InboxLayer::new("billing", store.clone()).dedup_by(by_id as ById).read_first();
    let single = layer
        .clone()
        .layer(service_fn(async |_: Received<u64, SqliteConnection>| Ok::<_, BoxError>(())));
    let batch = layer.clone().batched().layer(service_fn(Calls::default().writing()));
    assert_eq!(single.clone().oneshot(1).await.unwrap(), Outcome::Handled(()));
    assert_eq!(store.take(), "look claim");
    assert_eq!(single.clone().oneshot(1).await.unwrap(), Outcome::Duplicate);
    assert_eq!(store.take(), "look");

    let outcomes = batch.clone().oneshot(vec![1, 2, 3]).await.unwrap();
    assert_eq!(words(outcomes), "duplicate handled handled");
    assert_eq!(store.take(), "look(3) claim(2)");
    let outcomes = batch.clone().oneshot(vec![1, 2, 3, 3]).await.unwrap();
    assert_eq!(words(outcomes), "duplicate duplicate duplicate duplicate");
    assert_eq!(store.take(), "look(3)");

    // What is remembered is not even looked up.
    let layer = layer.remember(10);
    let batch = layer.clone().batched().layer(service_fn(Calls::default().writing()));
    let outcomes = batch.clone().oneshot(vec![4, 5]).await.unwrap();
    assert_eq!(words(outcomes), "handled handled");
    store.take();
    let outcomes = batch.clone().oneshot(vec![4, 1, 5]).await.unwrap();
    assert_eq!(words(outcomes), "duplicate duplicate duplicate");
    assert_eq!(store.take(), "look");
}

fn layer<St>(store: St) -> BatchInboxLayer<St, ByFields<ById, u64>>
where
    St: BatchStore,
{
    InboxLayer::new("billing", store).dedup_by(by_id as ById).batched()
}

type ById = fn(&u64) -> u64;

fn by_id(id: &u64) -> u64 {
    *id
}

async fn store() -> SqliteStore {
    let store = SqliteStore::in_memory().await.unwrap();
    store.schema().up().await.unwrap();
    sqlx::query("create table effect (name integer not null)").execute(store.pool()).await.unwrap();
    store
}

async fn effects(store: &SqliteStore) -> Vec<u64> {
    let effects: Vec<i64> = sqlx::query_scalar("select name from effect order by name")
        .fetch_all(store.pool())
        .await
        .unwrap();
    effects.into_iter().map(i64::cast_unsigned).collect()
}

async fn unreachable<C: Send + 'static>(_: Received64<C>) -> Result<(), BoxError> {
    panic!("there is nothing to handle")
}

/// The batches that a handler saw.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<Vec<u64>>>>);

type Handled = BoxFuture<'static, Result<(), BoxError>>;

impl Calls {
    fn writing(
        &self,
    ) -> impl FnMut(Received64<SqliteConnection>) -> Handled + Clone + Send + use<> {
        self.poisoned(u64::MAX)
    }

    /// Writes the messages, and then fails if one of them is poison.
    fn poisoned(
        &self,
        poison: u64,
    ) -> impl FnMut(Received64<SqliteConnection>) -> Handled + Clone + Send + use<> {
        let calls = self.clone();
        move |received| {
            let (messages, mut tx) = received.into_parts();
            calls.0.lock().unwrap().push(messages.clone());
            Box::pin(async move {
                for message in &messages {
                    sqlx::query("insert into effect (name) values (?)")
                        .bind(message.cast_signed())
                        .execute(&mut *tx)
                        .await?;
                }
                if messages.contains(&poison) { Err(Box::new(Oops) as BoxError) } else { Ok(()) }
            })
        }
    }

    fn writing_to_postgres(
        &self,
    ) -> impl FnMut(Received64<PgConnection>) -> Handled + Clone + Send + use<> {
        let calls = self.clone();
        move |received| {
            let (messages, mut tx) = received.into_parts();
            calls.0.lock().unwrap().push(messages.clone());
            Box::pin(async move {
                for message in &messages {
                    Postgres::write(&mut tx, &message.to_string()).await?;
                }
                Ok(())
            })
        }
    }

    fn take(&self) -> Vec<Vec<u64>> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[derive(Debug)]
struct Oops;

impl std::fmt::Display for Oops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the handler failed on purpose")
    }
}

impl std::error::Error for Oops {}

fn words(outcomes: Vec<Result<Outcome<()>, BoxError>>) -> String {
    let word = |outcome: &Result<_, BoxError>| match outcome {
        Ok(Outcome::Handled(())) => "handled",
        Ok(Outcome::Duplicate) => "duplicate",
        Err(error) if error.is::<InFlight>() => "in_flight",
        Err(error) if error.is::<Oops>() => "failed",
        Err(error) => panic!("{error:?}"),
    };
    outcomes.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn kind<T: std::fmt::Debug>(outcome: Result<T, BoxError>) -> StoreErrorKind {
    let error = outcome.unwrap_err();
    error.downcast_ref::<StoreError>().unwrap_or_else(|| panic!("{error:?}")).kind()
}

/// Writes down what the hooks of a layer hear, with the key of each message.
#[derive(Clone, Default)]
struct Hears(Arc<Mutex<Vec<Heard>>>);

/// A decision about a key; none for what is written before the commit.
type Heard = (Option<Decision>, [u8; 16]);

impl Hears {
    fn decisions(&self) -> Vec<Decision> {
        let heard = std::mem::take(&mut *self.0.lock().unwrap());
        heard.into_iter().filter_map(|(decision, _)| decision).collect()
    }

    /// As text, with small messages in place of their keys.
    async fn take(&self, store: &SqliteStore) -> String {
        let heard = std::mem::take(&mut *self.0.lock().unwrap());
        // The keys of known messages, from a layer that handles nothing.
        let mut keys = Vec::new();
        for id in 0..10 {
            let probe = Hears::default();
            let rejects = InboxLayer::new("billing", store.clone())
                .dedup_by(by_id as ById)
                .hook(probe.clone())
                .layer(service_fn(async |_: Received<u64, SqliteConnection>| {
                    Err::<(), BoxError>("a probe".into())
                }));
            let _ = rejects.oneshot(id).await;
            let heard = probe.0.lock().unwrap().last().copied().unwrap();
            keys.push(heard.1);
        }
        heard
            .iter()
            .map(|(decision, key)| {
                let id = keys.iter().position(|known| known == key).unwrap();
                match decision {
                    Some(decision) => format!("{decision:?}({id})"),
                    None => format!("before({id})"),
                }
            })
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn hear(&self, delivery: &Delivery, decision: Option<Decision>) {
        self.0.lock().unwrap().push((decision, delivery.key.unwrap()));
    }
}

impl<C: Send> CommitHook<C> for Hears {
    fn before_commit<'a>(
        &'a self,
        delivery: &'a Delivery,
        _: &'a mut C,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        self.hear(delivery, None);
        Box::pin(async { Ok(()) })
    }

    fn decided<'a>(&'a self, delivery: &'a Delivery, decision: Decision) -> BoxFuture<'a, ()> {
        self.hear(delivery, Some(decision));
        Box::pin(async {})
    }
}

/// Refuses the second message that it sees.
#[derive(Default)]
struct Refuses(AtomicUsize);

impl<C: Send> CommitHook<C> for Refuses {
    fn before_commit<'a>(
        &'a self,
        _: &'a Delivery,
        _: &'a mut C,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        let second = self.0.fetch_add(1, Ordering::SeqCst) == 1;
        Box::pin(async move { if second { Err(Box::new(Oops) as BoxError) } else { Ok(()) } })
    }

    fn decided<'a>(&'a self, _: &'a Delivery, _: Decision) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

/// Ends the session of a transaction just before its commit, once.
struct Breaks {
    at: Arc<AtomicUsize>,
    pool: PgPool,
}

impl CommitHook<PgConnection> for Breaks {
    fn before_commit<'a>(
        &'a self,
        _: &'a Delivery,
        connection: &'a mut PgConnection,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            if self.at.fetch_add(1, Ordering::SeqCst) == 2 {
                let session: i32 =
                    sqlx::query_scalar("select pg_backend_pid()").fetch_one(connection).await?;
                sqlx::query("select pg_terminate_backend($1, 5000)")
                    .bind(session)
                    .execute(&self.pool)
                    .await?;
            }
            Ok(())
        })
    }

    fn decided<'a>(&'a self, _: &'a Delivery, _: Decision) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

/// Polls up to a number of times, and says whether the future finished.
async fn poll_times<F: Future + Unpin>(future: &mut F, polls: u64) -> bool {
    use std::task::Poll;
    let mut left = polls;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        match std::pin::Pin::new(&mut *future).poll(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
