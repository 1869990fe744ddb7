//! The facts that hold for every [`BatchStore`], one function each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tower_layer::Layer;
use tower_service::Service;

use super::{
    Handler, Name, Oops, claim, deliver_leased, granted, key, layer, lease_request, lease_window,
    registered, sweep, waiting, window,
};
use crate::{
    error::{BoxError, StoreErrorKind},
    hook::BoxFuture,
    inbox::{
        BatchInboxLayer, InFlight, InboxLayer, KeyAbsent, KeySource, Outcome, Received, WithoutKey,
        store::{
            BatchClaim, BatchClaimed, BatchStore, BoxTx, Claimed, ConsumerId, Deed, Earlier,
            InboxStore, KeyClaimed, LeaseClaimed,
        },
    },
    key::InboxKey,
    testing::Harness,
};

/// Makes one test of every fact about batches in
/// [`testing::conformance`](crate::testing::conformance), as [`conformance!`](crate::conformance)
/// does of the others; for a store that is a [`BatchStore`](crate::inbox::store::BatchStore), too.
#[macro_export]
macro_rules! batch_conformance {
    (#[$attribute:meta] $arguments:tt => $harness:expr) => {
        $crate::conformance! { @ #[$attribute] $arguments $harness =>
            a_batch_is_answered_key_by_key
            a_batch_of_nothing_new_opens_no_transaction
            a_batch_takes_over_what_ended
            a_dropped_batch_leaves_no_trace
            a_batch_and_single_claims_respect_each_other
            batches_at_once_in_any_order_take_effect_once
            a_batch_knows_how_old_its_duplicates_are
            handled_is_what_is_committed_and_within_its_window
            each_message_of_a_batch_has_its_own_outcome
            one_message_that_fails_does_not_take_its_batch_along
            messages_without_a_key_join_the_transaction_of_the_batch
        }
    };
    ($harness:expr) => {
        $crate::batch_conformance!(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)] () => $harness
        );
    };
}

/// New, handled, leased and abandoned messages in one batch; the answers come in the order asked.
pub async fn a_batch_is_answered_key_by_key<H: Harness>(harness: &H)
where
    H::Store: BatchStore,
{
    let (store, consumer) = registered(harness).await;
    handle(&store, consumer, &[2, 5]).await;
    granted(&store, consumer, 4).await;
    let (answers, tx) = claim_batch(&store, consumer, &[6, 5, 4, 3, 2, 1]).await;
    assert_eq!(answers, "wdfwdw");
    let mut tx = tx.expect("three messages were won");
    H::write(tx.connection_mut(), "a").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(harness.written("a").await, 1);

    let (answers, tx) = claim_batch(&store, consumer, &[1, 3, 6, 7]).await;
    assert_eq!(answers, "dddw");
    tx.expect("a message was won").commit().await.unwrap();
    // The lease was left as it was.
    let lease = store.lease(lease_request(consumer, 4)).await.unwrap();
    assert_eq!(lease, LeaseClaimed::InFlight);
}

/// Where nothing is won there is nothing to end, and the next claim finds the store as it should be.
pub async fn a_batch_of_nothing_new_opens_no_transaction<H: Harness>(harness: &H)
where
    H::Store: BatchStore,
{
    let (store, consumer) = registered(harness).await;
    let (answers, tx) = claim_batch(&store, consumer, &[]).await;
    assert!(answers.is_empty() && tx.is_none());

    handle(&store, consumer, &[1, 2]).await;
    let grant = granted(&store, consumer, 3).await;
    for _ in 0..20 {
        let (answers, tx) = claim_batch(&store, consumer, &[3, 1, 2]).await;
        assert_eq!(answers, "fdd");
        assert!(tx.is_none());
    }
    assert!(store.settle(grant, Deed::Complete(window())).await.unwrap());
    handle(&store, consumer, &[4]).await;
}

/// Claims whose window is over and leases that ran out are won, among new messages and by themselves.
pub async fn a_batch_takes_over_what_ended<H: Harness>(harness: &H)
where
    H::Store: BatchStore,
{
    let (store, consumer) = registered(harness).await;
    handle(&store, consumer, &[1, 2]).await;
    let late = granted(&store, consumer, 3).await;
    harness.clock().advance(i64::from(window().as_secs()) + 2);
    handle(&store, consumer, &[4]).await;

    let (answers, tx) = claim_batch(&store, consumer, &[5, 4, 3, 2]).await;
    assert_eq!(answers, "wdww");
    tx.expect("three messages were won").commit().await.unwrap();
    for deed in [Deed::Complete(window()), Deed::Release, Deed::Extend(lease_window())] {
        assert!(!store.settle(late, deed).await.unwrap(), "{deed:?} by the one that was overtaken");
    }
    handle(&store, consumer, &[1]).await;
    let (answers, _) = claim_batch(&store, consumer, &[1, 2, 3, 4, 5]).await;
    assert_eq!(answers, "ddddd");
    sweep(&store, Duration::ZERO).await;
    let (answers, _) = claim_batch(&store, consumer, &[1, 2, 3, 4, 5]).await;
    assert_eq!(answers, "ddddd", "all of them have a new window");
}

/// A transaction that is dropped, not ended, takes all claims of its batch along.
pub async fn a_dropped_batch_leaves_no_trace<H: Harness>(harness: &H)
where
    H::Store: BatchStore,
{
    let (store, consumer) = registered(harness).await;
    handle(&store, consumer, &[3]).await;
    for keys in [&[1, 2][..], &[1, 2, 3]] {
        let (_, tx) = claim_batch(&store, consumer, keys).await;
        let mut tx = tx.expect("two messages were won");
        H::write(tx.connection_mut(), "a").await.unwrap();
        drop(tx);
    }
    let (answers, tx) = claim_batch(&store, consumer, &[2, 1]).await;
    assert_eq!(answers, "ww");
    tx.expect("two messages were won").rollback().await.unwrap();
    handle(&store, consumer, &[1, 2]).await;
    assert_eq!(harness.written("a").await, 0);
}

/// What a batch handled is a duplicate to single claims and leases, and what it rolled back is free.
pub async fn a_batch_and_single_claims_respect_each_other<H: Harness>(harness: &H)
where
    H::Store: BatchStore,
{
    let (store, consumer) = registered(harness).await;
    handle(&store, consumer, &[1, 2]).await;
    assert!(matches!(store.claim(claim(consumer, 1)).await.unwrap(), Claimed::Duplicate(_)));
    let lease = store.lease(lease_request(consumer, 2)).await.unwrap();
    assert!(matches!(lease, LeaseClaimed::Duplicate(_)));

    let (_, tx) = claim_batch(&store, consumer, &[3, 4]).await;
    tx.expect("two messages were won").rollback().await.unwrap();
    let Claimed::Won(tx) = store.claim(waiting(claim(consumer, 3))).await.unwrap() else {
        panic!("the batch was rolled back");
    };
    tx.commit().await.unwrap();
    granted(&store, consumer, 4).await;
}

/// Batches that overlap, in opposite orders, some of them rolled back: none fails for another, none
/// waits for long, and each message's effect is there once.
pub async fn batches_at_once_in_any_order_take_effect_once<H: Harness>(harness: &H)
where
    H::Store: BatchStore,
{
    let (store, consumer) = registered(harness).await;
    let workers: Vec<_> = (0..6_u8)
        .map(|worker| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut left: Vec<u8> = (0..KEYS).map(|at| (at + worker * 7) % KEYS).collect();
                if worker % 2 == 1 {
                    left.reverse();
                }
                for turn in 0.. {
                    let asked: Vec<u8> = left.iter().copied().take(16).collect();
                    if asked.is_empty() {
                        break;
                    }
                    let claimed = store.claim_batch(batch_claim(consumer, &asked)).await;
                    let BatchClaimed { answers, tx, .. } = match claimed {
                        Ok(claimed) => claimed,
                        Err(error) if error.kind() == StoreErrorKind::Busy => continue,
                        Err(error) => panic!("{error}"),
                    };
                    if let Some(mut tx) = tx {
                        for (key, answer) in asked.iter().zip(&answers) {
                            if *answer == KeyClaimed::Won {
                                let name = key.to_string();
                                H::write(tx.connection_mut(), &name).await.unwrap();
                            }
                        }
                        if (turn + u32::from(worker)) % 3 == 0 {
                            tx.rollback().await.unwrap();
                            continue;
                        }
                        tx.commit().await.unwrap();
                    }
                    let done = asked
                        .iter()
                        .zip(&answers)
                        .filter(|(_, answer)| **answer != KeyClaimed::InFlight)
                        .map(|(key, _)| *key)
                        .collect::<Vec<_>>();
                    left.retain(|key| !done.contains(key));
                    let third = left.len() / 3;
                    left.rotate_left(third);
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    for key in 0..KEYS {
        assert_eq!(harness.written(&key.to_string()).await, 1, "{key}");
    }
}

/// Duplicates come with their age, from a claim and from a look.
pub async fn a_batch_knows_how_old_its_duplicates_are<H: Harness>(harness: &H)
where
    H::Store: BatchStore,
{
    let (store, consumer) = registered(harness).await;
    handle(&store, consumer, &[1]).await;
    harness.clock().advance(100);
    handle(&store, consumer, &[2]).await;
    harness.clock().advance(50);
    let keys = || vec![key(2), key(3), key(1)];
    let claim = BatchClaim { keys: keys(), ..batch_claim(consumer, &[]) };
    let mut claimed = store.claim_batch(claim).await.unwrap();
    claimed.tx.take().expect("one message was won").rollback().await.unwrap();
    let age = |answer: &KeyClaimed| match answer {
        KeyClaimed::Duplicate(earlier) => earlier.age,
        _ => None,
    };
    let claimed: Vec<_> = claimed.answers.iter().map(age).collect();
    let looked = look(&store, consumer, keys()).await;
    let looked = looked.iter().map(|earlier| earlier.and_then(|earlier| earlier.age)).collect();
    for ages in [claimed, looked] {
        let [Some(young), None, Some(old)] = ages[..] else { panic!("{ages:?}") };
        // Up to two seconds are rounding.
        assert!((48..=50).contains(&young.as_secs()), "{young:?}");
        assert!((148..=150).contains(&old.as_secs()), "{old:?}");
    }
}

/// A lease is not handled, nor is what is rolled back, or new, or whose window is over.
pub async fn handled_is_what_is_committed_and_within_its_window<H: Harness>(harness: &H)
where
    H::Store: BatchStore,
{
    let (store, consumer) = registered(harness).await;
    let handled = async |keys: &[u8]| {
        let keys = keys.iter().map(|number| key(*number)).collect();
        let handled = look(&store, consumer, keys).await;
        handled.iter().map(Option::is_some).collect::<Vec<_>>()
    };
    assert!(handled(&[]).await.is_empty());
    handle(&store, consumer, &[1, 4]).await;
    let grant = granted(&store, consumer, 2).await;
    let (_, tx) = claim_batch(&store, consumer, &[3]).await;
    tx.expect("a message was won").rollback().await.unwrap();
    assert_eq!(handled(&[4, 3, 2, 1]).await, [true, false, false, true]);
    assert!(store.settle(grant, Deed::Complete(window())).await.unwrap());
    assert_eq!(handled(&[2]).await, [true]);

    harness.clock().advance(i64::from(window().as_secs()));
    assert_eq!(handled(&[1, 2]).await, [true, true]);
    harness.clock().advance(2);
    assert_eq!(handled(&[1, 2]).await, [false, false]);
    // Another consumer has handled nothing.
    let other = store.register("other".into(), window(), key(0)).await.unwrap();
    handle(&store, consumer, &[5]).await;
    assert_eq!(store.handled(other, vec![key(5)]).await.unwrap(), [None]);
}

/// New, handled, twice in the batch, in flight, without a key: one answer each, in the order of the
/// batch, and the handler sees what is new, in that order and in one transaction.
pub async fn each_message_of_a_batch_has_its_own_outcome<H: Harness>(harness: &H)
where
    H::Store: BatchStore,
{
    let layer = layer(harness, "billing").dedup_by(keyed).batched();
    let outcomes = deliver_batch(&layer, &["b", "d"], writes_all::<H>).await;
    assert_eq!(words(&outcomes), ["handled", "handled"]);

    // In flight: this delivery runs inside a lease on "e".
    let leased =
        InboxLayer::new("billing", harness.store()).dedup_by(keyed).leased(lease_window().into());
    let calls = Arc::new(AtomicUsize::new(0));
    let inner = (layer.clone(), Arc::clone(&calls));
    deliver_leased(&leased, Name("e"), move |_| {
        let (layer, calls) = inner.clone();
        async move {
            let outcomes = deliver_batch(&layer, &["c", "b", "a", "", "e", "c"], {
                move |received: DeliveredBatch<H>| {
                    calls.fetch_add(1, Ordering::SeqCst);
                    assert_eq!(
                        received.message.iter().map(|name| name.0).collect::<String>(),
                        "ca"
                    );
                    writes_all::<H>(received)
                }
            })
            .await;
            let expected =
                ["handled", "duplicate", "handled", "key absent", "in flight", "duplicate"];
            assert_eq!(words(&outcomes), expected);
            Ok(())
        }
    })
    .await
    .unwrap()
    .handled()
    .unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    for name in ["a", "b", "c", "d"] {
        assert_eq!(harness.written(name).await, 1, "{name}");
    }
    assert!(deliver_batch(&layer, &[], writes_all::<H>).await.is_empty());
}

/// The batch is rolled back and handled one by one; a message that equals a failed one is not
/// acknowledged either.
pub async fn one_message_that_fails_does_not_take_its_batch_along<H: Harness>(harness: &H)
where
    H::Store: BatchStore,
{
    let layer = layer(harness, "billing").dedup_by(keyed).batched();
    let calls = Arc::new(AtomicUsize::new(0));
    let poisoned = |poison: &'static str| {
        let calls = Arc::clone(&calls);
        move |received: DeliveredBatch<H>| -> BoxFuture<'static, Result<(), BoxError>> {
            calls.fetch_add(1, Ordering::SeqCst);
            let fails = received.message.iter().any(|name| name.0 == poison);
            Box::pin(async move {
                writes_all::<H>(received).await?;
                if fails { Err(Box::new(Oops) as BoxError) } else { Ok(()) }
            })
        }
    };
    let outcomes = deliver_batch(&layer, &["a", "b", "c", "b"], poisoned("b")).await;
    assert_eq!(words(&outcomes), ["handled", "failed", "handled", "in flight"]);
    assert_eq!(calls.swap(0, Ordering::SeqCst), 4, "once together, once each");
    assert_eq!(harness.written("b").await, 0);

    let outcomes = deliver_batch(&layer, &["a", "b", "c"], poisoned("b")).await;
    assert_eq!(words(&outcomes), ["duplicate", "failed", "duplicate"]);
    assert_eq!(calls.swap(0, Ordering::SeqCst), 1, "it was alone already");

    let outcomes = deliver_batch(&layer, &["a", "b", "b"], poisoned("none")).await;
    assert_eq!(words(&outcomes), ["duplicate", "handled", "duplicate"]);
    for name in ["a", "b", "c"] {
        assert_eq!(harness.written(name).await, 1, "{name}");
    }
}

/// Where messages without a key are let through, they stand beside the claimed ones, every time.
pub async fn messages_without_a_key_join_the_transaction_of_the_batch<H: Harness>(harness: &H)
where
    H::Store: BatchStore,
{
    let layer =
        layer(harness, "billing").dedup_by(keyed).without_key(WithoutKey::PassThrough).batched();
    let outcomes = deliver_batch(&layer, &["", "a", ""], writes_all::<H>).await;
    assert_eq!(words(&outcomes), ["handled"; 3]);
    let outcomes = deliver_batch(&layer, &["", "a"], writes_all::<H>).await;
    assert_eq!(words(&outcomes), ["handled", "duplicate"]);
    let outcomes = deliver_batch(&layer, &["", ""], writes_all::<H>).await;
    assert_eq!(words(&outcomes), ["handled"; 2]);
    assert_eq!((harness.written("a").await, harness.written("").await), (1, 5));
}

type DeliveredBatch<H> = Received<Vec<Name>, <H as Harness>::Connection>;

/// A name is its message's key, and the empty one is none.
fn keyed(name: &Name) -> Option<&'static str> {
    Some(name.0).filter(|name| !name.is_empty())
}

async fn deliver_batch<C, St, K, F, Fut>(
    layer: &BatchInboxLayer<St, K>,
    names: &[&'static str],
    handler: F,
) -> Vec<Result<Outcome<()>, BoxError>>
where
    St: BatchStore<Connection = C> + 'static,
    C: Send + 'static,
    K: KeySource<Name> + Clone,
    F: FnMut(Received<Vec<Name>, C>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let batch = names.iter().copied().map(Name).collect();
    layer.layer(Handler(handler)).call(batch).await.unwrap()
}

/// The handler that writes the names of its messages.
async fn writes_all<H: Harness>(received: DeliveredBatch<H>) -> Result<(), BoxError> {
    let (names, mut tx) = received.into_parts();
    for name in names {
        H::write(&mut tx, name.0).await?;
    }
    Ok(())
}

fn words(outcomes: &[Result<Outcome<()>, BoxError>]) -> Vec<&'static str> {
    let word = |outcome: &Result<_, BoxError>| match outcome {
        Ok(Outcome::Handled(())) => "handled",
        Ok(Outcome::Duplicate) => "duplicate",
        Err(error) if error.is::<InFlight>() => "in flight",
        Err(error) if error.is::<KeyAbsent>() => "key absent",
        Err(error) if error.is::<Oops>() => "failed",
        Err(error) => panic!("{error}"),
    };
    outcomes.iter().map(word).collect()
}

/// What a look says of many, which it has to say of each alone as well.
async fn look<St: BatchStore>(
    store: &St,
    consumer: ConsumerId,
    keys: Vec<InboxKey>,
) -> Vec<Option<Earlier>> {
    let together = store.handled(consumer, keys.clone()).await.unwrap();
    for (key, found) in keys.iter().zip(&together) {
        assert_eq!(store.handled(consumer, vec![*key]).await.unwrap(), [*found], "{key}");
    }
    together
}

/// Claims messages that are free, and commits.
async fn handle<St: BatchStore>(store: &St, consumer: ConsumerId, numbers: &[u8]) {
    let (answers, tx) = claim_batch(store, consumer, numbers).await;
    assert!(answers.chars().all(|answer| answer == 'w'), "{answers:?}");
    tx.expect("the messages were won").commit().await.unwrap();
}

/// The answers as letters: won, duplicate, in flight.
async fn claim_batch<St: BatchStore>(
    store: &St,
    consumer: ConsumerId,
    numbers: &[u8],
) -> (String, Option<BoxTx<St::Connection>>) {
    let claimed = store.claim_batch(batch_claim(consumer, numbers)).await.unwrap();
    assert_eq!(claimed.answers.len(), numbers.len());
    assert_eq!(claimed.tx.is_some(), claimed.answers.contains(&KeyClaimed::Won));
    let letter = |answer: &KeyClaimed| match answer {
        KeyClaimed::Won => 'w',
        KeyClaimed::Duplicate(_) => 'd',
        KeyClaimed::InFlight => 'f',
    };
    (claimed.answers.iter().map(letter).collect(), claimed.tx)
}

/// Patient enough for a rollback that was only queued.
fn batch_claim(consumer: ConsumerId, numbers: &[u8]) -> BatchClaim {
    let keys: Vec<InboxKey> = numbers.iter().map(|number| key(*number)).collect();
    BatchClaim::new(consumer, keys, window(), Duration::from_millis(500))
}

const KEYS: u8 = 40;
