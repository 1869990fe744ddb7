//! The facts that hold for every [`PoisonStore`], one function each.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    Name, Oops, claim, deliver, deliver_leased, key, layer, leased_layer, registered, window,
};
use crate::{
    error::BoxError,
    hook::{BoxFuture, CommitHook, Decision, Delivery},
    inbox::{
        DeadLetterPolicy, DeadLettered, InFlight, InnerInboxFailed, Leased, Outcome, Received,
        store::{
            Attempt, Attempts, Begun, Burial, Buried, Claimed, Earlier, Failure, InboxStore,
            LeaseClaimed, PoisonStore,
        },
    },
    testing::Harness,
};

/// Makes one test of every fact about attempts and dead letters in
/// [`testing::conformance`](crate::testing::conformance), as [`conformance!`](crate::conformance)
/// does of the others; for a store that is a [`PoisonStore`](crate::inbox::store::PoisonStore), too.
#[macro_export]
macro_rules! poison_conformance {
    (#[$attribute:meta] $arguments:tt => $harness:expr) => {
        $crate::conformance! { @ #[$attribute] $arguments $harness =>
            a_message_that_fails_too_often_is_a_dead_letter
            a_leased_message_that_fails_too_often_is_a_dead_letter
            a_message_that_kills_its_workers_is_a_dead_letter
            an_inner_inbox_does_not_speak_for_the_outer_one
            a_success_forgets_the_failures
            what_is_not_the_messages_fault_is_not_counted
            failures_alone_may_be_counted
            deliveries_in_flight_are_no_attempts
            a_message_that_is_handled_or_in_flight_is_not_buried
            attempts_are_forgotten_after_a_day
            what_was_tried_before_is_told_from_the_rest
        }
    };
    ($harness:expr) => {
        $crate::poison_conformance!(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)] () => $harness
        );
    };
}

/// The last failure buries it: the error says so, nothing of the attempts is left, redeliveries are
/// answered the same without the handler, and the hooks hear of it.
pub async fn a_message_that_fails_too_often_is_a_dead_letter<H: Harness>(harness: &H)
where
    H::Store: PoisonStore,
{
    let heard = Heard::default();
    let layer = layer(harness, "billing")
        .dead_letters(DeadLetterPolicy::after(3))
        .hook(heard.clone())
        .payload(|name: &Name| name.0.into());
    for attempt in 1..=3 {
        let error = deliver(&layer, Name("a"), fails::<H>).await.unwrap_err();
        if attempt < 3 {
            assert!(error.is::<Oops>(), "{error}");
        } else {
            let dead = error.downcast_ref::<DeadLettered>().expect("the third failure is the last");
            assert_eq!(dead.attempts, Attempts::new(3, 3));
            let cause = std::error::Error::source(dead).expect("the handler's own error");
            assert!(cause.is::<Oops>());
        }
    }
    for _ in 0..2 {
        let error = deliver(&layer, Name("a"), unreachable::<H>).await.unwrap_err();
        assert!(error.is::<DeadLettered>(), "{error}");
    }
    assert_eq!(harness.written("a").await, 0);
    assert_eq!(heard.count(Decision::DeadLettered), 3);
    assert_eq!(heard.count(Decision::Failed), 2);
    // After the window it is a new message with a new count.
    harness.clock().advance(24 * 3600 + 2);
    let error = deliver(&layer, Name("a"), fails::<H>).await.unwrap_err();
    assert!(error.is::<Oops>(), "{error}");
    assert_eq!(deliver(&layer, Name("a"), super::writes::<H>).await.unwrap(), Outcome::Handled(()));
}

/// The same with a lease, which is released after each failure.
pub async fn a_leased_message_that_fails_too_often_is_a_dead_letter<H: Harness>(harness: &H)
where
    H::Store: PoisonStore,
{
    let layer = leased_layer(harness).dead_letters(DeadLetterPolicy::after(2));
    let fails = |_: Leased<Name>| async { Err(Box::new(Oops) as BoxError) };
    assert!(deliver_leased(&layer, Name("a"), fails).await.unwrap_err().is::<Oops>());
    assert!(deliver_leased(&layer, Name("a"), fails).await.unwrap_err().is::<DeadLettered>());
    assert!(deliver_leased(&layer, Name("a"), fails).await.unwrap_err().is::<DeadLettered>());
    // One that is completed is forgotten.
    assert!(deliver_leased(&layer, Name("b"), fails).await.unwrap_err().is::<Oops>());
    let done = deliver_leased(&layer, Name("b"), super::succeeds).await.unwrap();
    assert_eq!(done, Outcome::Handled(()));
}

/// An attempt that never came back shows by its start; the one after the last does not run.
pub async fn a_message_that_kills_its_workers_is_a_dead_letter<H: Harness>(harness: &H)
where
    H::Store: PoisonStore,
{
    let layer = layer(harness, "billing")
        .in_flight_wait(Duration::from_secs(5))
        .dead_letters(DeadLetterPolicy::after(2));
    for _ in 0..2 {
        let begun = Notify::new();
        let handler = |received: Received<Name, H::Connection>| {
            begun.notify_one();
            async move {
                let _held = received;
                std::future::pending().await
            }
        };
        // As a worker that dies: the future is dropped while the handler runs.
        let mut delivery = pin!(deliver(&layer, Name("a"), handler));
        let mut handling = pin!(begun.notified());
        poll_fn(|cx| {
            assert!(delivery.as_mut().poll(cx).is_pending(), "the handler does not end");
            handling.as_mut().poll(cx)
        })
        .await;
    }
    // Whoever began a moment ago may still come to its claim.
    let error = deliver(&layer, Name("a"), unreachable::<H>).await.unwrap_err();
    assert!(error.is::<InFlight>(), "{error}");
    harness.clock().advance(62);
    let error = deliver(&layer, Name("a"), unreachable::<H>).await.unwrap_err();
    let dead = error.downcast_ref::<DeadLettered>().expect("two workers died of it");
    assert_eq!(dead.attempts, Attempts::new(3, 0));
}

/// A dead letter of an inbox further in is the outer message's failure, and not its own burial.
pub async fn an_inner_inbox_does_not_speak_for_the_outer_one<H: Harness>(harness: &H)
where
    H::Store: PoisonStore,
{
    let layer = layer(harness, "outer");
    let error = deliver(&layer, Name("a"), |_: Received<Name, H::Connection>| async {
        Err::<(), BoxError>(DeadLettered::new(Attempts::new(3, 3), None).into())
    })
    .await
    .unwrap_err();
    assert!(error.is::<InnerInboxFailed>() && !error.is::<DeadLettered>(), "{error}");
    let outcome = deliver(&layer, Name("a"), super::writes::<H>).await.unwrap();
    assert_eq!(outcome, Outcome::Handled(()));
}

/// Attempts count within one message's way to success only.
pub async fn a_success_forgets_the_failures<H: Harness>(harness: &H)
where
    H::Store: PoisonStore,
{
    let layer = layer(harness, "billing").dead_letters(DeadLetterPolicy::after(3));
    for _ in 0..2 {
        for _ in 0..2 {
            let error = deliver(&layer, Name("a"), fails::<H>).await.unwrap_err();
            assert!(error.is::<Oops>(), "{error}");
        }
        let outcome = deliver(&layer, Name("a"), super::writes::<H>).await.unwrap();
        assert_eq!(outcome, Outcome::Handled(()));
        let outcome = deliver(&layer, Name("a"), unreachable::<H>).await.unwrap();
        assert_eq!(outcome, Outcome::Duplicate);
        harness.clock().advance(24 * 3600 + 2);
    }
    assert_eq!(harness.written("a").await, 2);
}

/// An excepted error may come as often as it likes.
pub async fn what_is_not_the_messages_fault_is_not_counted<H: Harness>(harness: &H)
where
    H::Store: PoisonStore,
{
    let policy = DeadLetterPolicy::after(2).except(|error| error.is::<Oops>());
    let layer = layer(harness, "billing").dead_letters(policy);
    for _ in 0..5 {
        let error = deliver(&layer, Name("a"), fails::<H>).await.unwrap_err();
        assert!(error.is::<Oops>(), "{error}");
    }
    let outcome = deliver(&layer, Name("a"), super::writes::<H>).await.unwrap();
    assert_eq!(outcome, Outcome::Handled(()));
}

/// Without counted starts a failure is counted when it comes back.
pub async fn failures_alone_may_be_counted<H: Harness>(harness: &H)
where
    H::Store: PoisonStore,
{
    let policy = DeadLetterPolicy::after(2).count_starts(false);
    let layer = layer(harness, "billing").dead_letters(policy);
    assert!(deliver(&layer, Name("a"), fails::<H>).await.unwrap_err().is::<Oops>());
    let error = deliver(&layer, Name("a"), fails::<H>).await.unwrap_err();
    let dead = error.downcast_ref::<DeadLettered>().expect("the second failure is the last");
    assert_eq!(dead.attempts, Attempts::new(2, 2));
    assert!(deliver(&layer, Name("a"), unreachable::<H>).await.unwrap_err().is::<DeadLettered>());
}

/// However often a message is delivered while it is being handled.
pub async fn deliveries_in_flight_are_no_attempts<H: Harness>(harness: &H)
where
    H::Store: PoisonStore,
{
    let layer = leased_layer(harness).dead_letters(DeadLetterPolicy::after(2));
    let inner = layer.clone();
    let outcome = deliver_leased(&layer, Name("a"), move |_| {
        let inner = inner.clone();
        async move {
            for _ in 0..5 {
                let again = deliver_leased(&inner, Name("a"), super::succeeds).await;
                assert!(again.unwrap_err().is::<InFlight>());
            }
            Err(Box::new(Oops) as BoxError)
        }
    })
    .await;
    assert!(outcome.unwrap_err().is::<Oops>(), "the first of two attempts");
}

/// Whoever has it decides.
pub async fn a_message_that_is_handled_or_in_flight_is_not_buried<H: Harness>(harness: &H)
where
    H::Store: PoisonStore,
{
    let (store, consumer) = registered(harness).await;
    let burial = |number| {
        let attempts = Attempts::new(2, 2);
        Burial::new(consumer, key(number), window(), attempts, "a test".into(), None)
    };
    let request = super::lease_request(consumer, 1);
    let LeaseClaimed::Granted(grant) = store.lease(request).await.unwrap() else {
        panic!("the message is free");
    };
    assert!(!store.bury(burial(1)).await.unwrap(), "it is leased");
    let completed = super::Deed::Complete(window());
    assert!(store.settle(grant, completed).await.unwrap());
    assert!(!store.bury(burial(1)).await.unwrap(), "it is handled");
    assert_eq!(store.buried(consumer, key(1)).await.unwrap(), Buried::No);
    let attempt = |number| Attempt::new(consumer, key(number), 5, Duration::from_secs(60));
    let begun = store.begin_attempt(attempt(1)).await.unwrap();
    assert_eq!(begun, Begun::Handled(Earlier::ago(Duration::ZERO)));

    assert!(store.bury(burial(2)).await.unwrap());
    assert!(!store.bury(burial(2)).await.unwrap(), "it is buried");
    assert_eq!(store.buried(consumer, key(2)).await.unwrap(), Buried::Dead(Attempts::new(2, 2)));

    // Of many who would bury it, one does.
    let burials: Vec<_> = (0..8)
        .map(|_| {
            let (store, burial) = (store.clone(), burial(3));
            tokio::spawn(async move { store.bury(burial).await })
        })
        .collect();
    let mut buried = 0;
    for burial in burials {
        buried += usize::from(burial.await.unwrap().unwrap());
    }
    assert_eq!(buried, 1);
}

/// What was never handled and does not come any more leaves nothing behind.
pub async fn attempts_are_forgotten_after_a_day<H: Harness>(harness: &H)
where
    H::Store: PoisonStore,
{
    let (store, consumer) = registered(harness).await;
    let failure = || Failure::new(consumer, key(1), "a test, \0 and all".into(), false);
    assert_eq!(store.fail_attempt(failure()).await.unwrap(), Attempts::new(1, 1));
    assert_eq!(store.fail_attempt(failure()).await.unwrap(), Attempts::new(2, 2));
    super::sweep(&store, Duration::ZERO).await;
    assert_eq!(store.fail_attempt(failure()).await.unwrap(), Attempts::new(3, 3));
    harness.clock().advance(24 * 3600 + 2);
    super::sweep(&store, Duration::ZERO).await;
    assert_eq!(store.fail_attempt(failure()).await.unwrap(), Attempts::new(1, 1));
}

/// Messages that failed, or were marked and not heard of again; not those that are handled, and not
/// those whose marks went with the transaction that handled them.
pub async fn what_was_tried_before_is_told_from_the_rest<H: Harness>(harness: &H)
where
    H::Store: PoisonStore,
{
    let (store, consumer) = registered(harness).await;
    let begin = async |numbers: &[u8], mark| {
        let keys = numbers.iter().map(|number| key(*number)).collect();
        store.begin_together(consumer, keys, mark).await.unwrap()
    };
    assert!(begin(&[], true).await.is_empty());
    // Somebody handled 1; 2 failed.
    let Claimed::Won(tx) = store.claim(claim(consumer, 1)).await.unwrap() else {
        panic!("nobody else claims");
    };
    tx.commit().await.unwrap();
    let failure = Failure::new(consumer, key(2), "it failed".into(), false);
    store.fail_attempt(failure).await.unwrap();
    assert_eq!(begin(&[1, 2, 3], false).await, [false, true, false]);
    assert_eq!(begin(&[3, 2, 1], true).await, [false, true, false]);
    // Nothing was heard of 3, which was no attempt; what is handled was not marked.
    assert_eq!(begin(&[1, 2, 3, 4], true).await, [false, true, true, false]);
    let begun =
        store.begin_attempt(Attempt::new(consumer, key(3), 5, Duration::ZERO)).await.unwrap();
    assert_eq!(begun, Begun::Counted(Attempts::new(1, 0)));

    for commits in [false, true] {
        let mut tx = store.begin().await.unwrap();
        let marked = vec![key(3), key(4)];
        store.end_together(tx.connection_mut(), consumer, marked).await.unwrap();
        if commits {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
        }
        assert_eq!(begin(&[2, 3, 4], false).await, [true, !commits, !commits]);
    }
}

async fn fails<H: Harness>(received: Received<Name, H::Connection>) -> Result<(), BoxError> {
    super::writes::<H>(received).await?;
    Err(Box::new(Oops))
}

async fn unreachable<H: Harness>(_: Received<Name, H::Connection>) -> Result<(), BoxError> {
    panic!("the handler does not run");
}

/// Counts the decisions that a hook hears.
#[derive(Clone, Default)]
struct Heard(Arc<[AtomicUsize; 2]>);

impl Heard {
    fn count(&self, decision: Decision) -> usize {
        Self::place(decision).map_or(0, |place| self.0[place].load(Ordering::SeqCst))
    }

    fn place(decision: Decision) -> Option<usize> {
        match decision {
            Decision::DeadLettered => Some(0),
            Decision::Failed => Some(1),
            _ => None,
        }
    }
}

impl<C: Send> CommitHook<C> for Heard {
    fn before_commit<'a>(
        &'a self,
        _: &'a Delivery,
        _: &'a mut C,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async { Ok(()) })
    }

    fn decided<'a>(&'a self, _: &'a Delivery, decision: Decision) -> BoxFuture<'a, ()> {
        if let Some(place) = Self::place(decision) {
            self.0[place].fetch_add(1, Ordering::SeqCst);
        }
        Box::pin(async {})
    }
}
