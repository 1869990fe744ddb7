//! The facts that hold for every [`BatchStore`], one function each.

use std::time::Duration;

use super::{claim, granted, key, lease_request, lease_window, registered, sweep, waiting, window};
use crate::{
    error::StoreErrorKind,
    inbox::store::{
        BatchClaim, BatchClaimed, BatchStore, BoxTx, Claimed, ConsumerId, Deed, InboxStore,
        KeyClaimed, LeaseClaimed,
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
            handled_is_what_is_committed_and_within_its_window
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
    use KeyClaimed::{Duplicate, InFlight, Won};
    assert_eq!(answers, [Won, Duplicate, InFlight, Won, Duplicate, Won]);
    let mut tx = tx.expect("three messages were won");
    H::write(tx.connection_mut(), "a").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(harness.written("a").await, 1);

    let (answers, tx) = claim_batch(&store, consumer, &[1, 3, 6, 7]).await;
    assert_eq!(answers, [Duplicate, Duplicate, Duplicate, Won]);
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
        use KeyClaimed::{Duplicate, InFlight};
        assert_eq!(answers, [InFlight, Duplicate, Duplicate]);
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
    use KeyClaimed::{Duplicate, Won};
    assert_eq!(answers, [Won, Duplicate, Won, Won]);
    tx.expect("three messages were won").commit().await.unwrap();
    for deed in [Deed::Complete(window()), Deed::Release, Deed::Extend(lease_window())] {
        assert!(!store.settle(late, deed).await.unwrap(), "{deed:?} by the one that was overtaken");
    }
    handle(&store, consumer, &[1]).await;
    let (answers, _) = claim_batch(&store, consumer, &[1, 2, 3, 4, 5]).await;
    assert_eq!(answers, [Duplicate; 5]);
    sweep(&store, Duration::ZERO).await;
    let (answers, _) = claim_batch(&store, consumer, &[1, 2, 3, 4, 5]).await;
    assert_eq!(answers, [Duplicate; 5], "all of them have a new window");
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
    assert_eq!(answers, [KeyClaimed::Won; 2]);
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

/// A lease is not handled, nor is what is rolled back, or new, or whose window is over.
pub async fn handled_is_what_is_committed_and_within_its_window<H: Harness>(harness: &H)
where
    H::Store: BatchStore,
{
    let (store, consumer) = registered(harness).await;
    let handled = async |keys: &[u8]| {
        store.handled(consumer, keys.iter().map(|number| key(*number)).collect()).await.unwrap()
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
    assert_eq!(store.handled(other, vec![key(5)]).await.unwrap(), [false]);
}

/// Claims messages that are free, and commits.
async fn handle<St: BatchStore>(store: &St, consumer: ConsumerId, numbers: &[u8]) {
    let (answers, tx) = claim_batch(store, consumer, numbers).await;
    assert!(answers.iter().all(|answer| *answer == KeyClaimed::Won), "{answers:?}");
    tx.expect("the messages were won").commit().await.unwrap();
}

async fn claim_batch<St: BatchStore>(
    store: &St,
    consumer: ConsumerId,
    numbers: &[u8],
) -> (Vec<KeyClaimed>, Option<BoxTx<St::Connection>>) {
    let claimed = store.claim_batch(batch_claim(consumer, numbers)).await.unwrap();
    assert_eq!(claimed.answers.len(), numbers.len());
    assert_eq!(claimed.tx.is_some(), claimed.answers.contains(&KeyClaimed::Won));
    (claimed.answers, claimed.tx)
}

/// Patient enough for a rollback that was only queued.
fn batch_claim(consumer: ConsumerId, numbers: &[u8]) -> BatchClaim {
    let keys: Vec<InboxKey> = numbers.iter().map(|number| key(*number)).collect();
    BatchClaim::new(consumer, keys, window(), Duration::from_millis(500))
}

const KEYS: u8 = 40;
