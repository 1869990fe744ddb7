//! The facts that hold for every store, one function each.
//!
//! [`conformance!`](crate::conformance) makes a test of each. A function panics where the fact does
//! not hold.

mod admin;
mod batch;
#[cfg(feature = "events")]
mod events;
mod group;
mod poison;
mod records;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tower_layer::Layer;
use tower_service::Service;

use crate::{
    error::{BoxError, StoreError, StoreErrorKind},
    hook::{BoxFuture, CommitHook, Decision, Delivery},
    inbox::{
        ByFields, InFlight, InLease, InboxLayer, KeyAbsent, KeySource, Leased, Outcome, Received,
        TransactionNotReturned, Window, WithoutKey,
        store::{
            Claim, Claimed, ConsumerId, Deed, Grant, InboxStore, LeaseClaimed, LeaseRequest,
            SweepStore,
        },
    },
    key::{InboxKey, Secret, Xxh64Zeroed},
    testing::Harness,
};

pub use admin::*;
pub use batch::*;
#[cfg(feature = "events")]
pub use events::*;
pub use group::*;
pub use poison::*;
pub use records::*;

/// Makes one test of every fact in [`testing::conformance`](crate::testing::conformance).
///
/// The expression is evaluated in each test and gives a fresh
/// [`Harness`](crate::testing::Harness); it may `.await`. By itself it makes tests with
/// `#[tokio::test]`, for which the caller needs `tokio` with `macros` and `rt-multi-thread`; another
/// attribute, and arguments that it fills, go in front:
///
/// ```text
/// tower_inbox::conformance!(#[sqlx::test] (pool: PgPool) => MyHarness::start(pool).await);
/// ```
#[macro_export]
macro_rules! conformance {
    (#[$attribute:meta] $arguments:tt => $harness:expr) => {
        $crate::conformance! { @ #[$attribute] $arguments $harness =>
            a_duplicate_is_recognised
            a_failed_handler_leaves_no_trace
            a_dropped_claim_leaves_no_trace
            consumers_do_not_share_claims
            a_message_after_its_window_is_handled_again
            a_clock_that_jumps_back_keeps_duplicates
            many_deliveries_at_once_take_effect_once
            duplicates_at_once_are_not_in_flight
            random_failures_take_effect_once
            one_claim_at_a_time
            in_flight_is_not_a_duplicate
            a_completed_lease_is_a_duplicate
            a_released_lease_is_free_at_once
            a_late_completion_is_refused
            an_extended_lease_is_kept
            fencing_tokens_only_grow
            both_modes_respect_each_other
            a_stale_lease_says_nothing
            a_transaction_that_is_not_returned_is_not_committed
            a_message_without_key_is_rejected_or_passed_through
            hooks_join_the_transaction
            hooks_hear_every_decision
            a_consumer_keeps_its_number_and_its_keys
            the_sweeper_removes_only_what_ended
            sweeping_takes_turns
        }
    };
    (@ #$attribute:tt $arguments:tt $harness:expr => $($fact:ident)*) => {$(
        $crate::conformance! { @@ #$attribute $arguments $fact $harness }
    )*};
    (@@ #[$attribute:meta] ($($name:ident: $type:ty),*) $fact:ident $harness:expr) => {
        #[$attribute]
        async fn $fact($($name: $type),*) {
            let harness = $harness;
            $crate::testing::conformance::$fact(&harness).await;
        }
    };
    ($harness:expr) => {
        $crate::conformance!(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)] () => $harness
        );
    };
}

/// A message that is only a name; a handler writes an effect of that name.
#[derive(Debug, Clone, Copy)]
struct Name(&'static str);

type Delivered<H> = Received<Name, <H as Harness>::Connection>;

/// A second delivery is a duplicate, and the effect is there once.
pub async fn a_duplicate_is_recognised<H: Harness>(harness: &H) {
    let layer = layer(harness, "billing");
    for expected in [Outcome::Handled(()), Outcome::Duplicate, Outcome::Duplicate] {
        assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), expected);
    }
    assert_eq!(harness.written("a").await, 1);
}

/// A handler's error rolls its writes and the claim back, and passes through untouched.
pub async fn a_failed_handler_leaves_no_trace<H: Harness>(harness: &H) {
    let layer = layer(harness, "billing");
    let error = deliver(&layer, Name("a"), |received: Delivered<H>| async move {
        let (message, mut tx) = received.into_parts();
        H::write(&mut tx, message.0).await?;
        Err::<(), BoxError>(Box::new(Oops))
    })
    .await
    .unwrap_err();
    assert!(error.is::<Oops>());
    assert_eq!(harness.written("a").await, 0);
    assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Handled(()));
    assert_eq!(harness.written("a").await, 1);
}

/// A transaction that is dropped, not ended, is rolled back.
pub async fn a_dropped_claim_leaves_no_trace<H: Harness>(harness: &H) {
    let (store, consumer) = registered(harness).await;
    let Claimed::Won(mut tx) = store.claim(claim(consumer, 1)).await.unwrap() else {
        panic!("nobody else claims");
    };
    H::write(tx.connection_mut(), "a").await.unwrap();
    drop(tx);
    let Claimed::Won(mut tx) = store.claim(waiting(claim(consumer, 1))).await.unwrap() else {
        panic!("the claim went with its transaction");
    };
    H::write(tx.connection_mut(), "b").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((harness.written("a").await, harness.written("b").await), (0, 1));
}

/// Two consumers handle one message once each.
pub async fn consumers_do_not_share_claims<H: Harness>(harness: &H) {
    for consumer in ["billing", "shipping"] {
        let layer = layer(harness, consumer);
        assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Handled(()));
        assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Duplicate);
    }
    assert_eq!(harness.written("a").await, 2);
}

/// Recognised for the whole window, and less than two seconds longer; no sweeper is needed.
pub async fn a_message_after_its_window_is_handled_again<H: Harness>(harness: &H) {
    let layer = layer(harness, "billing").window(Duration::from_secs(60));
    assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Handled(()));
    harness.clock().advance(60);
    assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Duplicate);
    harness.clock().advance(2);
    assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Handled(()));
    assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Duplicate);
    assert_eq!(harness.written("a").await, 2);
}

/// A clock set back by an hour makes windows longer, never shorter.
pub async fn a_clock_that_jumps_back_keeps_duplicates<H: Harness>(harness: &H) {
    let layer = layer(harness, "billing").window(Duration::from_secs(60));
    assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Handled(()));
    harness.clock().advance(-3600);
    assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Duplicate);
    harness.clock().advance(3600);
    assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Duplicate);
    assert_eq!(harness.written("a").await, 1);
}

/// Sixteen deliveries of one message at once: one effect, and nothing but duplicates and in flight
/// beside it.
pub async fn many_deliveries_at_once_take_effect_once<H: Harness>(harness: &H) {
    let layer = layer(harness, "billing");
    layer.prepare().await.unwrap();
    let deliveries: Vec<_> = (0..16)
        .map(|_| {
            let layer = layer.clone();
            tokio::spawn(async move { deliver(&layer, Name("a"), writes::<H>).await })
        })
        .collect();
    let mut handled = 0;
    for delivery in deliveries {
        match delivery.await.unwrap() {
            Ok(Outcome::Handled(())) => handled += 1,
            Ok(Outcome::Duplicate) => {}
            Err(error) => assert!(error.is::<InFlight>(), "{error}"),
        }
    }
    assert_eq!((handled, harness.written("a").await), (1, 1));
}

/// What is handled is a duplicate to all who ask at once, even if they do not wait.
pub async fn duplicates_at_once_are_not_in_flight<H: Harness>(harness: &H) {
    let layer = layer(harness, "billing").in_flight_wait(Duration::ZERO);
    assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Handled(()));
    for _ in 0..20 {
        let deliveries: Vec<_> = (0..8)
            .map(|_| {
                let layer = layer.clone();
                tokio::spawn(async move { deliver(&layer, Name("a"), writes::<H>).await })
            })
            .collect();
        for delivery in deliveries {
            assert_eq!(delivery.await.unwrap().unwrap(), Outcome::Duplicate);
        }
    }
    assert_eq!(harness.written("a").await, 1);
}

/// Handlers that fail now and then, delivered until they succeed: one effect each.
pub async fn random_failures_take_effect_once<H: Harness>(harness: &H) {
    const NAMES: [Name; 8] =
        [Name("a"), Name("b"), Name("c"), Name("d"), Name("e"), Name("f"), Name("g"), Name("h")];
    let layer = layer(harness, "billing");
    layer.prepare().await.unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let (layer, calls) = (layer.clone(), Arc::clone(&calls));
            tokio::spawn(async move {
                for turn in 0..24 {
                    let name = NAMES[(turn * 5 + worker * 3) % NAMES.len()];
                    let fails = calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(3);
                    let _ = deliver(&layer, name, writes_and_fails::<H>(fails)).await;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    for name in NAMES {
        while deliver(&layer, name, writes::<H>).await.is_err() {}
        assert_eq!(harness.written(name.0).await, 1, "{name:?}");
    }
}

/// While one transaction holds a message, no other gets it; when it is rolled back, the next does.
pub async fn one_claim_at_a_time<H: Harness>(harness: &H) {
    let (store, consumer) = registered(harness).await;
    let Claimed::Won(held) = store.claim(claim(consumer, 1)).await.unwrap() else {
        panic!("nobody else claims");
    };
    let rival = tokio::spawn({
        let store = store.clone();
        async move {
            loop {
                match store.claim(claim(consumer, 1)).await {
                    Ok(Claimed::InFlight) => {}
                    Err(error) if error.kind() == StoreErrorKind::Busy => {}
                    Ok(Claimed::Won(tx)) => return tx.commit().await.unwrap(),
                    other => panic!("{other:?}"),
                }
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!rival.is_finished());
    held.rollback().await.unwrap();
    rival.await.unwrap();
    assert!(matches!(store.claim(claim(consumer, 1)).await.unwrap(), Claimed::Duplicate(_)));
}

/// A message under a lease is in flight, which is an error that says so.
pub async fn in_flight_is_not_a_duplicate<H: Harness>(harness: &H) {
    let (store, consumer) = registered(harness).await;
    let grant = granted(&store, consumer, 1).await;
    let second = store.lease(lease_request(consumer, 1)).await.unwrap();
    assert_eq!(second, LeaseClaimed::InFlight);
    assert!(matches!(store.claim(claim(consumer, 1)).await.unwrap(), Claimed::InFlight));
    assert!(store.settle(grant, Deed::Release).await.unwrap());

    let layer = leased_layer(harness);
    let inner = layer.clone();
    let outcome = deliver_leased(&layer, Name("a"), move |_| {
        let inner = inner.clone();
        async move {
            let error = deliver_leased(&inner, Name("a"), succeeds).await.unwrap_err();
            assert!(error.is::<InFlight>(), "{error}");
            Ok(())
        }
    })
    .await;
    assert_eq!(outcome.unwrap(), Outcome::Handled(()));
}

/// What was completed is a duplicate for the window, not for the lease.
pub async fn a_completed_lease_is_a_duplicate<H: Harness>(harness: &H) {
    let layer = leased_layer(harness);
    for expected in [Outcome::Handled(()), Outcome::Duplicate] {
        let outcome = deliver_leased(&layer, Name("a"), succeeds).await.unwrap();
        assert_eq!(outcome, expected);
    }
    harness.clock().advance(3600);
    let outcome = deliver_leased(&layer, Name("a"), succeeds).await.unwrap();
    assert_eq!(outcome, Outcome::Duplicate);
}

/// A handler's error releases the lease; the attempts are counted.
pub async fn a_released_lease_is_free_at_once<H: Harness>(harness: &H) {
    let layer = leased_layer(harness);
    for attempt in 1..=3 {
        let error = deliver_leased(&layer, Name("a"), move |leased: Leased<Name>| async move {
            assert_eq!(leased.lease.unwrap().attempt(), attempt);
            Err(Box::new(Oops) as BoxError)
        })
        .await
        .unwrap_err();
        assert!(error.is::<Oops>());
    }
    let outcome = deliver_leased(&layer, Name("a"), succeeds).await.unwrap();
    assert_eq!(outcome, Outcome::Handled(()));
}

/// A worker whose lease ran out can neither complete, release nor extend; who took over can.
pub async fn a_late_completion_is_refused<H: Harness>(harness: &H) {
    let (store, consumer) = registered(harness).await;
    let late = granted(&store, consumer, 1).await;
    harness.clock().advance(32);
    assert!(!store.settle(late, Deed::Complete(window())).await.unwrap(), "its time is over");

    let second = granted(&store, consumer, 1).await;
    assert_eq!(second.attempt, 2);
    for deed in [Deed::Complete(window()), Deed::Release, Deed::Extend(window())] {
        assert!(!store.settle(late, deed).await.unwrap(), "{deed:?} by the one that was overtaken");
    }
    assert!(store.settle(second, Deed::Complete(window())).await.unwrap());
    assert!(!store.settle(second, Deed::Complete(window())).await.unwrap(), "only once");
    let third = store.lease(lease_request(consumer, 1)).await.unwrap();
    assert!(matches!(third, LeaseClaimed::Duplicate(_)));
}

/// An extended lease holds for as long again.
pub async fn an_extended_lease_is_kept<H: Harness>(harness: &H) {
    let (store, consumer) = registered(harness).await;
    let grant = granted(&store, consumer, 1).await;
    for _ in 0..5 {
        harness.clock().advance(20);
        assert!(store.settle(grant, Deed::Extend(lease_window())).await.unwrap());
        let other = store.lease(lease_request(consumer, 1)).await.unwrap();
        assert_eq!(other, LeaseClaimed::InFlight);
    }
    assert!(store.settle(grant, Deed::Complete(window())).await.unwrap());
}

/// Tokens grow over messages, releases, windows and takeovers by a transaction.
pub async fn fencing_tokens_only_grow<H: Harness>(harness: &H) {
    let (store, consumer) = registered(harness).await;
    let mut last = i64::MIN;
    for round in 0..4 {
        for key in 1..4 {
            let grant = granted(&store, consumer, key).await;
            assert!(grant.token > last);
            last = grant.token;
            let deed = if round % 2 == 0 { Deed::Release } else { Deed::Complete(window()) };
            assert!(store.settle(grant, deed).await.unwrap());
        }
        harness.clock().advance(i64::from(window().as_secs()) + 2);
    }
}

/// A consumer that changes its mode while old workers still run handles nothing twice.
pub async fn both_modes_respect_each_other<H: Harness>(harness: &H) {
    let (store, consumer) = registered(harness).await;
    // Leased first: in flight, then duplicate, for a transaction.
    let grant = granted(&store, consumer, 1).await;
    assert!(matches!(store.claim(claim(consumer, 1)).await.unwrap(), Claimed::InFlight));
    assert!(store.settle(grant, Deed::Complete(window())).await.unwrap());
    assert!(matches!(store.claim(claim(consumer, 1)).await.unwrap(), Claimed::Duplicate(_)));

    // A lease that ran out is taken over by a transaction, and its holder is too late.
    let late = granted(&store, consumer, 2).await;
    harness.clock().advance(32);
    let Claimed::Won(tx) = store.claim(claim(consumer, 2)).await.unwrap() else {
        panic!("the lease ran out");
    };
    tx.commit().await.unwrap();
    assert!(!store.settle(late, Deed::Complete(window())).await.unwrap());
    let lease = store.lease(lease_request(consumer, 2)).await.unwrap();
    assert!(matches!(lease, LeaseClaimed::Duplicate(_)));
}

/// What is left of a lease that ran out says nothing about the claim that came after it, even if the
/// clock is set back.
pub async fn a_stale_lease_says_nothing<H: Harness>(harness: &H) {
    let (store, consumer) = registered(harness).await;
    let late = granted(&store, consumer, 1).await;
    harness.clock().advance(32);
    sweep(&store, Duration::ZERO).await;
    let Claimed::Won(tx) = store.claim(claim(consumer, 1)).await.unwrap() else {
        panic!("the lease ran out");
    };
    tx.commit().await.unwrap();
    harness.clock().advance(-10);
    assert!(matches!(store.claim(claim(consumer, 1)).await.unwrap(), Claimed::Duplicate(_)));
    for deed in [Deed::Complete(window()), Deed::Release, Deed::Extend(window())] {
        assert!(!store.settle(late, deed).await.unwrap(), "{deed:?} by the one that was overtaken");
    }
    assert!(matches!(store.claim(claim(consumer, 1)).await.unwrap(), Claimed::Duplicate(_)));
}

/// A handler that keeps its transaction and says `Ok` has not handled anything.
pub async fn a_transaction_that_is_not_returned_is_not_committed<H: Harness>(harness: &H) {
    let layer = layer(harness, "billing");
    let kept = Arc::new(Mutex::new(None));
    let error = deliver(&layer, Name("a"), {
        let kept = Arc::clone(&kept);
        move |received: Delivered<H>| {
            let kept = Arc::clone(&kept);
            async move {
                let (message, mut tx) = received.into_parts();
                H::write(&mut tx, message.0).await?;
                *kept.lock().unwrap() = Some(tx);
                Ok(())
            }
        }
    })
    .await
    .unwrap_err();
    assert!(error.is::<TransactionNotReturned>(), "{error}");
    kept.lock().unwrap().take();
    let layer = layer.in_flight_wait(Duration::from_secs(5));
    assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Handled(()));
    assert_eq!(harness.written("a").await, 1);
}

/// Without a key: refused by default, handled each time where that is configured.
pub async fn a_message_without_key_is_rejected_or_passed_through<H: Harness>(harness: &H) {
    let keyless = || layer(harness, "billing").dedup_by(|_: &Name| None::<u64>);
    let error = deliver(&keyless(), Name("a"), writes::<H>).await.unwrap_err();
    assert!(error.is::<KeyAbsent>(), "{error}");
    let layer = keyless().without_key(WithoutKey::PassThrough);
    for _ in 0..2 {
        assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Handled(()));
    }
    assert_eq!(harness.written("a").await, 2);
}

/// A hook writes in the handler's transaction, and its error undoes the handler's writes.
pub async fn hooks_join_the_transaction<H: Harness>(harness: &H) {
    struct Writes<H>(std::marker::PhantomData<fn(H)>);
    impl<H: Harness> CommitHook<H::Connection> for Writes<H> {
        fn before_commit<'a>(
            &'a self,
            _: &'a Delivery,
            connection: &'a mut H::Connection,
        ) -> BoxFuture<'a, Result<(), BoxError>> {
            H::write(connection, "hook")
        }

        fn decided<'a>(&'a self, _: &'a Delivery, _: Decision) -> BoxFuture<'a, ()> {
            Box::pin(async {})
        }
    }

    struct Fails;
    impl<C: Send> CommitHook<C> for Fails {
        fn before_commit<'a>(
            &'a self,
            _: &'a Delivery,
            _: &'a mut C,
        ) -> BoxFuture<'a, Result<(), BoxError>> {
            Box::pin(async { Err(Box::new(Oops) as BoxError) })
        }

        fn decided<'a>(&'a self, _: &'a Delivery, _: Decision) -> BoxFuture<'a, ()> {
            Box::pin(async {})
        }
    }

    let hooked = || layer(harness, "billing").hook(Writes::<H>(std::marker::PhantomData));
    let error = deliver(&hooked().hook(Fails), Name("a"), writes::<H>).await.unwrap_err();
    assert!(error.is::<Oops>());
    assert_eq!((harness.written("a").await, harness.written("hook").await), (0, 0));
    assert_eq!(deliver(&hooked(), Name("a"), writes::<H>).await.unwrap(), Outcome::Handled(()));
    assert_eq!(deliver(&hooked(), Name("a"), writes::<H>).await.unwrap(), Outcome::Duplicate);
    assert_eq!((harness.written("a").await, harness.written("hook").await), (1, 1));
}

/// Every delivery has one decision, in transactional and in leased mode.
pub async fn hooks_hear_every_decision<H: Harness>(harness: &H) {
    #[derive(Clone, Default)]
    struct Hears(Arc<Mutex<Vec<Decision>>>);
    impl<C: Send> CommitHook<C> for Hears {
        fn before_commit<'a>(
            &'a self,
            _: &'a Delivery,
            _: &'a mut C,
        ) -> BoxFuture<'a, Result<(), BoxError>> {
            Box::pin(async { Ok(()) })
        }

        fn decided<'a>(&'a self, _: &'a Delivery, decision: Decision) -> BoxFuture<'a, ()> {
            self.0.lock().unwrap().push(decision);
            Box::pin(async {})
        }
    }

    let hears = Hears::default();
    let layer = layer(harness, "billing").hook(hears.clone());
    let fails = |_: Delivered<H>| async { Err::<(), BoxError>(Box::new(Oops)) };
    let _ = deliver(&layer, Name("a"), fails).await;
    let _ = deliver(&layer, Name("a"), writes::<H>).await;
    let _ = deliver(&layer, Name("a"), writes::<H>).await;
    let keyless = layer.dedup_by(|_: &Name| None::<u64>);
    let _ = deliver(&keyless, Name("a"), writes::<H>).await;
    let _ = deliver(&keyless.without_key(WithoutKey::PassThrough), Name("a"), writes::<H>).await;

    let leased = leased_layer(harness).hook(hears.clone());
    let inner = leased.clone();
    let _ = deliver_leased(&leased, Name("b"), move |_| {
        let inner = inner.clone();
        async move {
            let _ = deliver_leased(&inner, Name("b"), succeeds).await;
            Ok(())
        }
    })
    .await;
    let _ = deliver_leased(&leased, Name("b"), succeeds).await;
    use Decision::{Duplicate, Failed, Handled, InFlight, PassedThrough, Rejected};
    let expected =
        [Failed, Handled, Duplicate, Rejected, PassedThrough, InFlight, Handled, Duplicate];
    assert_eq!(*hears.0.lock().unwrap(), expected);
}

/// A name gives the same number every time, and another way of making keys is refused.
pub async fn a_consumer_keeps_its_number_and_its_keys<H: Harness>(harness: &H) {
    let store = harness.store();
    let register = |name: &str, probe| store.register(name.into(), window(), key(probe));
    let billing = register("billing", 9).await.unwrap();
    let shipping = register("shipping", 9).await.unwrap();
    assert_ne!(billing, shipping);
    assert_eq!(register("billing", 9).await.unwrap(), billing);
    let changed: StoreError = register("billing", 8).await.unwrap_err();
    assert_eq!(changed.kind(), StoreErrorKind::KeyChanged);

    layer(harness, "keys").prepare().await.unwrap();
    layer(harness, "keys").prepare().await.unwrap();
    for changed in [
        layer(harness, "keys").hasher(Xxh64Zeroed::new()),
        layer(harness, "keys").secret(Secret::from_bytes([1; 16])),
    ] {
        let error = changed.prepare().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::KeyChanged, "{error}");
    }
}

/// Expired claims and abandoned leases go, live ones stay, and retention keeps the first for longer.
pub async fn the_sweeper_removes_only_what_ended<H: Harness>(harness: &H) {
    let (store, consumer) = registered(harness).await;
    for number in 0..50 {
        let Claimed::Won(tx) = store.claim(claim(consumer, number)).await.unwrap() else {
            panic!("nobody else claims");
        };
        tx.commit().await.unwrap();
    }
    let late = harness.sweeps_late();
    harness.clock().advance(i64::from(window().as_secs()) + late.as_secs().cast_signed() + 2);
    let Claimed::Won(tx) = store.claim(claim(consumer, 100)).await.unwrap() else {
        panic!("nobody else claims");
    };
    tx.commit().await.unwrap();
    granted(&store, consumer, 101).await;

    assert_eq!(sweep(&store, late + Duration::from_secs(3600)).await, 0, "retained");
    assert_eq!(sweep(&store, Duration::ZERO).await, 50);
    assert_eq!(sweep(&store, Duration::ZERO).await, 0);
    assert!(matches!(store.claim(claim(consumer, 100)).await.unwrap(), Claimed::Duplicate(_)));
    assert!(matches!(store.claim(claim(consumer, 101)).await.unwrap(), Claimed::InFlight));
    assert!(matches!(store.claim(claim(consumer, 1)).await.unwrap(), Claimed::Won(_)));
}

/// Of many processes, one begins a round in each period.
pub async fn sweeping_takes_turns<H: Harness>(harness: &H) {
    let (store, _) = registered(harness).await;
    let every = Duration::from_secs(60);
    assert!(store.begin_round(every).await.unwrap());
    assert!(!store.begin_round(every).await.unwrap());
    harness.clock().advance(60);
    assert!(store.begin_round(every).await.unwrap());
    assert!(!store.begin_round(every).await.unwrap());

    // A clock that was a year ahead for a moment does not stop the sweeping for a year.
    harness.clock().advance(365 * 24 * 3600);
    assert!(store.begin_round(every).await.unwrap());
    harness.clock().advance(-365 * 24 * 3600);
    assert!(store.begin_round(every).await.unwrap());
    assert!(!store.begin_round(every).await.unwrap());
}

#[derive(Debug)]
struct Oops;

impl std::fmt::Display for Oops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the handler failed on purpose")
    }
}

impl std::error::Error for Oops {}

type ByText = ByFields<fn(&Name) -> String, Name>;

fn layer<H: Harness>(harness: &H, consumer: &str) -> InboxLayer<H::Store, ByText> {
    let text: fn(&Name) -> String = |message| message.0.to_owned();
    InboxLayer::new(consumer, harness.store()).dedup_by(text)
}

fn leased_layer<H: Harness>(harness: &H) -> InboxLayer<H::Store, ByText, InLease> {
    layer(harness, "billing").leased(lease_window().into())
}

async fn deliver<C, St, K, F, Fut>(
    layer: &InboxLayer<St, K>,
    message: Name,
    handler: F,
) -> Result<Outcome<()>, BoxError>
where
    St: InboxStore<Connection = C> + 'static,
    C: Send + 'static,
    K: KeySource<Name> + Clone,
    F: FnMut(Received<Name, C>) -> Fut + Clone,
    Fut: Future<Output = Result<(), BoxError>>,
{
    layer.layer(Handler(handler)).call(message).await
}

async fn deliver_leased<St, K, F, Fut>(
    layer: &InboxLayer<St, K, InLease>,
    message: Name,
    handler: F,
) -> Result<Outcome<()>, BoxError>
where
    St: InboxStore + 'static,
    K: KeySource<Name> + Clone,
    F: FnMut(Leased<Name>) -> Fut + Clone,
    Fut: Future<Output = Result<(), BoxError>>,
{
    layer.layer(Handler(handler)).call(message).await
}

/// A closure as a service; always ready.
#[derive(Clone)]
struct Handler<F>(F);

impl<F, R, Fut> Service<R> for Handler<F>
where
    F: FnMut(R) -> Fut,
    Fut: Future<Output = Result<(), BoxError>>,
{
    type Response = ();
    type Error = BoxError;
    type Future = Fut;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Fut {
        (self.0)(request)
    }
}

/// The handler that writes its message's name.
async fn writes<H: Harness>(received: Delivered<H>) -> Result<(), BoxError> {
    let (message, mut tx) = received.into_parts();
    H::write(&mut tx, message.0).await
}

/// The handler that writes, and then may fail.
fn writes_and_fails<H: Harness>(
    fails: bool,
) -> impl FnMut(Delivered<H>) -> BoxFuture<'static, Result<(), BoxError>> + Clone + Send {
    move |received| {
        Box::pin(async move {
            writes::<H>(received).await?;
            if fails { Err(Box::new(Oops) as BoxError) } else { Ok(()) }
        })
    }
}

/// The handler that has its effects elsewhere.
fn succeeds(_: Leased<Name>) -> std::future::Ready<Result<(), BoxError>> {
    std::future::ready(Ok(()))
}

async fn registered<H: Harness>(harness: &H) -> (H::Store, ConsumerId) {
    let store = harness.store();
    let consumer = store.register("raw".into(), window(), key(0)).await.unwrap();
    (store, consumer)
}

async fn granted<St: InboxStore>(store: &St, consumer: ConsumerId, number: u8) -> Grant {
    match store.lease(lease_request(consumer, number)).await.unwrap() {
        LeaseClaimed::Granted(grant) => grant,
        other => panic!("the message is free, but the store says {other:?}"),
    }
}

async fn sweep<St: SweepStore>(store: &St, retention: Duration) -> u64 {
    let (mut removed, mut cursor) = (0, None);
    loop {
        let swept = store.sweep(cursor, retention).await.unwrap();
        removed += swept.removed;
        match swept.next {
            None => return removed,
            next => cursor = next,
        }
    }
}

fn claim(consumer: ConsumerId, number: u8) -> Claim {
    Claim { consumer, key: key(number), window: window(), wait: Duration::from_millis(50) }
}

/// Patient enough for a rollback that was only queued.
fn waiting(claim: Claim) -> Claim {
    Claim { wait: Duration::from_secs(5), ..claim }
}

fn lease_request(consumer: ConsumerId, number: u8) -> LeaseRequest {
    LeaseRequest { consumer, key: key(number), lease: lease_window(), owner: "a test".into() }
}

fn key(number: u8) -> InboxKey {
    InboxKey::from_bytes(u128::from(number).wrapping_mul(KEY_STEP).to_be_bytes())
}

fn window() -> Window {
    Duration::from_secs(24 * 3600).try_into().expect("a day is a window")
}

fn lease_window() -> Window {
    Duration::from_secs(30).try_into().expect("half a minute is a lease")
}

// Spreads small numbers over all bits, as a hash would.
const KEY_STEP: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
