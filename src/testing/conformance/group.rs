//! The facts that hold for every [`GroupStore`], one function each.

use super::{claim, granted, lease_request, registered, window};
use crate::{
    inbox::store::{Claimed, ConsumerId, Deed, GroupStore, InboxStore, KeyClaimed, LeaseClaimed},
    testing::Harness,
};

/// Makes one test of every fact about groups in
/// [`testing::conformance`](crate::testing::conformance), as [`conformance!`](crate::conformance)
/// does of the others; for a store that is a [`GroupStore`](crate::inbox::store::GroupStore), too.
#[macro_export]
macro_rules! group_conformance {
    (#[$attribute:meta] $arguments:tt => $harness:expr) => {
        $crate::conformance! { @ #[$attribute] $arguments $harness =>
            a_message_of_a_group_is_kept_or_undone_alone
            a_group_takes_over_what_ended
            a_group_that_is_rolled_back_leaves_no_trace
        }
    };
    ($harness:expr) => {
        $crate::group_conformance!(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)] () => $harness
        );
    };
}

/// What is kept commits with its claim, what is undone goes with its claim, and what was not won left
/// nothing to undo.
pub async fn a_message_of_a_group_is_kept_or_undone_alone<H: Harness>(harness: &H)
where
    H::Store: GroupStore,
{
    let (store, consumer) = registered(harness).await;
    granted(&store, consumer, 4).await;
    let mut tx = store.begin().await.unwrap();
    let connection = tx.connection_mut();
    for (number, name, keeps) in [(1, "a", true), (2, "b", false), (3, "c", true)] {
        assert_eq!(begin(&store, connection, consumer, number).await, KeyClaimed::Won);
        H::write(connection, name).await.unwrap();
        if keeps {
            store.keep_message(connection).await.unwrap();
        } else {
            store.undo_message(connection).await.unwrap();
        }
    }
    // One that was kept is a duplicate in its own group; a lease is in flight; without a key all is won.
    let twin = begin(&store, connection, consumer, 1).await;
    assert!(matches!(twin, KeyClaimed::Duplicate(_)), "{twin:?}");
    assert_eq!(begin(&store, connection, consumer, 4).await, KeyClaimed::InFlight);
    assert_eq!(store.begin_message(connection, None).await.unwrap(), KeyClaimed::Won);
    H::write(connection, "d").await.unwrap();
    store.keep_message(connection).await.unwrap();
    tx.commit().await.unwrap();

    let mut written = Vec::new();
    for name in ["a", "b", "c", "d"] {
        written.push(harness.written(name).await);
    }
    assert_eq!(written, [1, 0, 1, 1]);
    for (number, free) in [(1, false), (2, true), (3, false)] {
        match store.claim(claim(consumer, number)).await.unwrap() {
            Claimed::Won(tx) => {
                assert!(free, "{number}");
                tx.rollback().await.unwrap();
            }
            Claimed::Duplicate(_) => assert!(!free, "{number}"),
            Claimed::InFlight => panic!("{number} is nobody's"),
        }
    }
    let lease = store.lease(lease_request(consumer, 4)).await.unwrap();
    assert_eq!(lease, LeaseClaimed::InFlight);
}

/// Claims and leases whose time is over are won, kept or undone like others.
pub async fn a_group_takes_over_what_ended<H: Harness>(harness: &H)
where
    H::Store: GroupStore,
{
    let (store, consumer) = registered(harness).await;
    for number in [1, 2] {
        let Claimed::Won(tx) = store.claim(claim(consumer, number)).await.unwrap() else {
            panic!("nobody else claims");
        };
        tx.commit().await.unwrap();
    }
    let late = granted(&store, consumer, 3).await;
    harness.clock().advance(i64::from(window().as_secs()) + 2);
    let mut tx = store.begin().await.unwrap();
    let connection = tx.connection_mut();
    for number in [1, 2, 3] {
        assert_eq!(begin(&store, connection, consumer, number).await, KeyClaimed::Won);
        if number == 2 {
            store.undo_message(connection).await.unwrap();
        } else {
            store.keep_message(connection).await.unwrap();
        }
    }
    tx.commit().await.unwrap();
    assert!(!store.settle(late, Deed::Complete(window())).await.unwrap(), "it was overtaken");
    for (number, free) in [(1, false), (2, true), (3, false)] {
        let claimed = store.claim(claim(consumer, number)).await.unwrap();
        assert_eq!(matches!(claimed, Claimed::Won(_)), free, "{number}: {claimed:?}");
    }
}

/// What was kept is not committed until the group is.
pub async fn a_group_that_is_rolled_back_leaves_no_trace<H: Harness>(harness: &H)
where
    H::Store: GroupStore,
{
    let (store, consumer) = registered(harness).await;
    for _ in 0..2 {
        let mut tx = store.begin().await.unwrap();
        let connection = tx.connection_mut();
        assert_eq!(begin(&store, connection, consumer, 1).await, KeyClaimed::Won);
        H::write(connection, "a").await.unwrap();
        store.keep_message(connection).await.unwrap();
        assert_eq!(begin(&store, connection, consumer, 2).await, KeyClaimed::Won);
        // Dropped in the middle of a message.
        drop(tx);
    }
    assert_eq!(harness.written("a").await, 0);
}

async fn begin<St: GroupStore>(
    store: &St,
    connection: &mut St::Connection,
    consumer: ConsumerId,
    number: u8,
) -> KeyClaimed {
    store.begin_message(connection, Some(claim(consumer, number))).await.unwrap()
}
