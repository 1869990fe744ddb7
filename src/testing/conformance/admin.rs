//! The facts that hold for every [`InboxAdmin`] and [`RedeliveryStore`], one function each.

use std::{sync::Arc, time::Duration};

use tower_layer::Layer;

use super::{
    ByText, Handler, Name, Oops, claim, deliver, granted, key, layer, leased_layer, registered,
    succeeds, window, writes,
};
use crate::{
    error::{BoxError, StoreErrorKind},
    inbox::{
        DeadLetterPolicy, DeadLettered, InFlight, InboxLayer, Leased, Outcome, Received,
        WithPayload,
        redelivery::{Redelivered, Redelivery, UnreadableLetter},
        store::{
            Attempts, AuditFilter, Buried, Claim, ClaimFilter, ClaimState, Claimed, Deed,
            Discarded, Forgotten, InboxAdmin, InboxStore, Intervention, KeyState, LetterFilter,
            LetterState, LetterSummary, Paging, PoisonStore, RecordStore, RedeliveryStore,
            Requeued, SweepStore,
        },
    },
    key::{Fingerprint, InboxKey},
    testing::Harness,
};

/// Makes one test of every fact about inspection, requeues and redelivery in
/// [`testing::conformance`](crate::testing::conformance), as [`conformance!`](crate::conformance)
/// does of the others; for a store that is an [`InboxAdmin`](crate::inbox::store::InboxAdmin), a
/// [`RedeliveryStore`](crate::inbox::store::RedeliveryStore), a
/// [`PoisonStore`](crate::inbox::store::PoisonStore) and a
/// [`RecordStore`](crate::inbox::store::RecordStore), too.
#[macro_export]
macro_rules! admin_conformance {
    (#[$attribute:meta] $arguments:tt => $harness:expr) => {
        $crate::conformance! { @ #[$attribute] $arguments $harness =>
            an_explanation_says_what_was_handled
            an_explanation_says_who_is_at_work
            an_explanation_says_what_failed
            a_consumer_that_is_not_there_is_an_error
            consumers_are_counted
            claims_are_listed_page_by_page
            a_forgotten_message_is_handled_again
            a_lease_is_forgotten_by_force
            a_delivery_under_way_is_waited_for
            a_dry_run_changes_nothing
            a_dead_letter_is_requeued_and_not_forgotten
            a_letter_is_requeued_once_by_many
            a_message_that_was_handled_meanwhile_is_not_requeued
            a_requeue_and_a_delivery_at_once_take_effect_once
            a_discarded_letter_stays_recognised
            letters_are_listed_newest_first
            the_audit_says_who_did_what
            a_requeued_letter_is_delivered_again
            a_redelivery_may_die_at_any_point
            a_letter_that_was_taken_is_left_alone
            redeliveries_at_once_take_effect_once
            ages_of_duplicates_are_written_down
        }
    };
    ($harness:expr) => {
        $crate::admin_conformance!(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)] () => $harness
        );
    };
}

/// Never seen, handled when and until when, with what is kept, over.
pub async fn an_explanation_says_what_was_handled<H: Harness>(harness: &H)
where
    H::Store: InboxAdmin + RecordStore,
{
    let store = harness.store();
    let layer = layer(harness, "billing").fingerprint(|name: &Name| name.0);
    layer.prepare().await.unwrap();
    let key = key_of(&store, "a").await;
    let explain = async || store.explain("billing".into(), key).await.unwrap();
    let before = explain().await;
    assert_eq!((before.state, before.record), (KeyState::Free, None));
    assert_eq!((&*before.consumer, before.window), ("billing", window().into()));

    assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Handled(()));
    let at = harness.clock().unix_millis() / 1000;
    harness.clock().advance(3600);
    let after = explain().await;
    let KeyState::Handled { at: Some(handled), until } = after.state else {
        panic!("{after:?}");
    };
    assert!((at..=at + 2).contains(&unix(handled)), "{} is not {at}", unix(handled));
    assert!((86_400..=86_402).contains(&(unix(until) - at)), "{}", unix(until) - at);
    let record = after.record.unwrap();
    assert_eq!(record.fingerprint, Some(Fingerprint::of(b"a")));
    assert_eq!(record.response_bytes, None);

    harness.clock().advance(24 * 3600);
    let over = explain().await;
    assert_eq!(over.state, KeyState::Expired { until });
    assert!(over.state.is_free());
}

/// A lease with its owner, token and attempt; what is left of one that was released.
pub async fn an_explanation_says_who_is_at_work<H: Harness>(harness: &H)
where
    H::Store: InboxAdmin,
{
    let (store, consumer) = registered(harness).await;
    let grant = granted(&store, consumer, 1).await;
    let explained = store.explain("raw".into(), key(1)).await.unwrap();
    let KeyState::Leased(lease) = &explained.state else { panic!("{explained:?}") };
    assert_eq!((&*lease.owner, lease.token, lease.attempt), ("a test", grant.token, 1));
    let now = harness.clock().unix_millis() / 1000;
    assert!((29..=32).contains(&(unix(lease.until) - now)), "{lease:?}");

    assert!(store.settle(grant, Deed::Release).await.unwrap());
    let explained = store.explain("raw".into(), key(1)).await.unwrap();
    assert_eq!((explained.state, explained.leases), (KeyState::Free, 1));
}

/// Attempts with the last error, then the dead letter.
pub async fn an_explanation_says_what_failed<H: Harness>(harness: &H)
where
    H::Store: InboxAdmin + PoisonStore,
{
    let store = harness.store();
    let layer = poisonous(harness, 2);
    let key = key_of(&store, "a").await;
    assert!(deliver(&layer, Name("a"), fails::<H>).await.unwrap_err().is::<Oops>());
    let explained = store.explain("billing".into(), key).await.unwrap();
    assert_eq!(explained.state, KeyState::Free);
    let attempts = explained.attempts.unwrap();
    assert_eq!(attempts.attempts, Attempts::new(1, 1));
    assert_eq!(attempts.last_error.as_deref(), Some("the handler failed on purpose"));
    assert_eq!(attempts.first_at, attempts.last_at);

    assert!(deliver(&layer, Name("a"), fails::<H>).await.unwrap_err().is::<DeadLettered>());
    let explained = store.explain("billing".into(), key).await.unwrap();
    assert!(matches!(explained.state, KeyState::Dead { .. }), "{explained:?}");
    assert_eq!(explained.attempts, None);
    let letter = explained.letter.unwrap();
    assert_eq!((&*letter.consumer, letter.key), ("billing", key));
    assert_eq!((letter.attempts, letter.deaths), (Attempts::new(2, 2), 1));
    assert_eq!(letter.reason, "the handler failed on purpose");
    assert_eq!((letter.payload_bytes, letter.state()), (Some(1), LetterState::Dead));
}

/// A name that was mistyped does not read like an inbox without messages.
pub async fn a_consumer_that_is_not_there_is_an_error<H: Harness>(harness: &H)
where
    H::Store: InboxAdmin,
{
    let store = harness.store();
    let none: Arc<str> = "none".into();
    let by_hand = Intervention::new("none", key(1), "me");
    let paging = Paging::default;
    for error in [
        store.claims(ClaimFilter::of("none"), paging()).await.unwrap_err(),
        store.explain(Arc::clone(&none), key(1)).await.unwrap_err(),
        store.forget(by_hand.clone()).await.unwrap_err(),
        store.requeue(by_hand.clone()).await.unwrap_err(),
        store.discard(by_hand).await.unwrap_err(),
        store.letters(LetterFilter::default().consumer("none"), paging()).await.unwrap_err(),
        store.letter(Arc::clone(&none), key(1)).await.unwrap_err(),
        store.ages(none).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), StoreErrorKind::UnknownConsumer, "{error}");
        assert!(error.to_string().contains("\"none\""), "{error}");
    }
    assert!(store.consumers().await.unwrap().is_empty());
    assert!(store.letters(LetterFilter::default(), paging()).await.unwrap().items.is_empty());
    assert!(store.audit(AuditFilter::default(), paging()).await.unwrap().items.is_empty());
}

/// Live, in flight, expired, dead and requeued, each once.
pub async fn consumers_are_counted<H: Harness>(harness: &H)
where
    H::Store: InboxAdmin + PoisonStore,
{
    let (store, raw) = registered(harness).await;
    claimed(&store, claim(raw, 1)).await;
    harness.clock().advance(24 * 3600 + 2);
    granted(&store, raw, 2).await;
    let layer = poisonous(harness, 1);
    assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Handled(()));
    for name in ["b", "c"] {
        assert!(deliver(&layer, Name(name), fails::<H>).await.unwrap_err().is::<DeadLettered>());
    }
    requeued(&store, "b").await;

    let consumers = store.consumers().await.unwrap();
    let found: Vec<_> = consumers
        .iter()
        .map(|consumer| {
            let claims = (consumer.live, consumer.in_flight, consumer.expired);
            (&*consumer.name, claims, consumer.dead_letters, consumer.requeued)
        })
        .collect();
    assert_eq!(found, [("billing", (1, 0, 0), 1, 1), ("raw", (0, 1, 1), 0, 0)]);
    assert_eq!(consumers[1].key_probe, key(0));
    assert_eq!(consumers[1].window, Duration::from(window()));
}

/// In the order of keys, all or those in one state, each once, across pages.
pub async fn claims_are_listed_page_by_page<H: Harness>(harness: &H)
where
    H::Store: InboxAdmin + PoisonStore,
{
    let (store, raw) = registered(harness).await;
    for number in 1..=3 {
        claimed(&store, claim(raw, number)).await;
    }
    harness.clock().advance(24 * 3600 + 2);
    for number in 4..=6 {
        claimed(&store, claim(raw, number)).await;
    }
    granted(&store, raw, 7).await;
    let failure = crate::inbox::store::Failure::new(raw, key(8), "no".into(), false);
    store.fail_attempt(failure).await.unwrap();

    let list = async |filter: ClaimFilter| {
        let (mut found, mut paging) = (Vec::new(), Paging::first(3));
        loop {
            let page = store.claims(filter.clone(), paging).await.unwrap();
            assert!(page.items.len() <= 3);
            found.extend(page.items);
            match page.next {
                None => return found,
                Some(next) => paging = Paging::first(3).after(next),
            }
        }
    };
    let all = list(ClaimFilter::of("raw")).await;
    assert_eq!(all.len(), 8);
    assert!(all.is_sorted_by(|a, b| a.key < b.key), "{all:?}");
    for (state, count) in [
        (ClaimState::Expired, 3),
        (ClaimState::Handled, 3),
        (ClaimState::Leased, 1),
        (ClaimState::Failing, 1),
        (ClaimState::Dead, 0),
    ] {
        let found = list(ClaimFilter::of("raw").state(state)).await;
        assert_eq!(found.len(), count, "{state}");
        assert!(found.iter().all(|claim| claim.state == state), "{found:?}");
        for claim in found {
            assert!(all.contains(&claim));
            assert_eq!(claim.handled_at.is_some(), state == ClaimState::Handled);
            assert_eq!(claim.until.is_some(), state != ClaimState::Failing);
            assert_eq!(claim.attempts, u32::from(state.as_str().len() > 5 && count == 1));
        }
    }
}

/// Claim, record and attempts go in one step, and the audit has it.
pub async fn a_forgotten_message_is_handled_again<H: Harness>(harness: &H)
where
    H::Store: InboxAdmin + RecordStore,
{
    let store = harness.store();
    let layer = layer(harness, "billing").fingerprint(|name: &Name| name.0);
    assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Handled(()));
    let key = key_of(&store, "a").await;
    let by_hand = Intervention::new("billing", key, "Ann");
    let forgotten = store.forget(by_hand.clone()).await.unwrap();
    assert!(matches!(forgotten, Forgotten::Done(KeyState::Handled { .. })), "{forgotten:?}");
    assert_eq!(store.forget(by_hand).await.unwrap(), Forgotten::NotThere);

    let explained = store.explain("billing".into(), key).await.unwrap();
    assert_eq!((explained.state, explained.record), (KeyState::Free, None));
    let entry = &explained.audit[..];
    assert_eq!(entry.len(), 1, "nothing was done the second time");
    assert_eq!((&*entry[0].actor, &*entry[0].action), ("Ann", "forget"));
    assert_eq!((&*entry[0].consumer, entry[0].key), ("billing", Some(key)));
    assert_eq!(entry[0].detail.as_deref(), Some("handled"));
    assert_eq!(unix(entry[0].at), harness.clock().unix_millis() / 1000);

    assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Handled(()));
    assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Duplicate);
    assert_eq!(harness.written("a").await, 2);
}

/// A live lease is refused, unless forced; its completion is refused then.
pub async fn a_lease_is_forgotten_by_force<H: Harness>(harness: &H)
where
    H::Store: InboxAdmin,
{
    let (store, consumer) = registered(harness).await;
    let grant = granted(&store, consumer, 1).await;
    let by_hand = Intervention::new("raw", key(1), "Ann");
    let refused = store.forget(by_hand.clone()).await.unwrap();
    let Forgotten::Leased(lease) = refused else { panic!("{refused:?}") };
    assert_eq!(lease.token, grant.token);
    assert!(store.settle(grant, Deed::Extend(window())).await.unwrap(), "nothing was done");

    let forced = store.forget(by_hand.force(true)).await.unwrap();
    assert!(matches!(forced, Forgotten::Done(KeyState::Leased(_))), "{forced:?}");
    assert!(!store.settle(grant, Deed::Complete(window())).await.unwrap());
    let second = granted(&store, consumer, 1).await;
    assert!(second.token > grant.token);
}

/// A delivery that commits a moment later is forgotten with what it has committed, and not before.
pub async fn a_delivery_under_way_is_waited_for<H: Harness>(harness: &H)
where
    H::Store: InboxAdmin,
{
    let (store, consumer) = registered(harness).await;
    let Claimed::Won(mut tx) = store.claim(claim(consumer, 1)).await.unwrap() else {
        panic!("nobody else claims");
    };
    H::write(tx.connection_mut(), "a").await.unwrap();
    let forgetting = tokio::spawn({
        let store = store.clone();
        async move { store.forget(Intervention::new("raw", key(1), "Ann")).await.unwrap() }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!forgetting.is_finished());
    tx.commit().await.unwrap();
    let forgotten = forgetting.await.unwrap();
    assert!(matches!(forgotten, Forgotten::Done(KeyState::Handled { .. })), "{forgotten:?}");
    assert_eq!(harness.written("a").await, 1);
    assert!(matches!(store.claim(claim(consumer, 1)).await.unwrap(), Claimed::Won(_)));
}

/// What would be done is said, and nothing is done, not even to the audit.
pub async fn a_dry_run_changes_nothing<H: Harness>(harness: &H)
where
    H::Store: InboxAdmin + PoisonStore,
{
    let store = harness.store();
    let layer = poisonous(harness, 1);
    assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Handled(()));
    assert!(deliver(&layer, Name("b"), fails::<H>).await.unwrap_err().is::<DeadLettered>());
    for _ in 0..2 {
        let dry = async |name| {
            Intervention::new("billing", key_of(&store, name).await, "Ann").dry_run(true)
        };
        let forgotten = store.forget(dry("a").await).await.unwrap();
        assert!(matches!(forgotten, Forgotten::Done(KeyState::Handled { .. })), "{forgotten:?}");
        let requeued = store.requeue(dry("b").await).await.unwrap();
        assert_eq!(requeued, Requeued::Done { payload: true });
        let discarded = store.discard(dry("b").await).await.unwrap();
        assert!(matches!(discarded, Discarded::Done(_)), "{discarded:?}");
    }
    assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Duplicate);
    assert!(deliver(&layer, Name("b"), writes::<H>).await.unwrap_err().is::<DeadLettered>());
    let audit = store.audit(AuditFilter::default(), Paging::default()).await.unwrap();
    assert_eq!(audit.items, []);
}

/// Requeued it is new, with a new count; requeued twice is said so, with when and by whom; handled, it
/// is no dead letter any more.
pub async fn a_dead_letter_is_requeued_and_not_forgotten<H: Harness>(harness: &H)
where
    H::Store: InboxAdmin + PoisonStore,
{
    let store = harness.store();
    let layer = poisonous(harness, 2);
    for _ in 0..2 {
        deliver(&layer, Name("a"), fails::<H>).await.unwrap_err();
    }
    let by_hand = Intervention::new("billing", key_of(&store, "a").await, "Ann");
    assert_eq!(store.forget(by_hand.clone()).await.unwrap(), Forgotten::DeadLetter);
    assert_eq!(store.forget(by_hand.clone().force(true)).await.unwrap(), Forgotten::DeadLetter);

    let requeued = store.requeue(by_hand.clone()).await.unwrap();
    assert_eq!(requeued, Requeued::Done { payload: true });
    let at = harness.clock().unix_millis() / 1000;
    harness.clock().advance(60);
    let Requeued::Already { at: found, by } = store.requeue(by_hand.clone()).await.unwrap() else {
        panic!("it was requeued a minute ago");
    };
    assert_eq!((unix(found), by.as_deref()), (at, Some("Ann")));
    let again = store.requeue(by_hand.clone().force(true)).await.unwrap();
    assert_eq!(again, Requeued::Done { payload: true });

    // One failure is not the last one now.
    assert!(deliver(&layer, Name("a"), fails::<H>).await.unwrap_err().is::<Oops>());
    assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Handled(()));
    assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Duplicate);
    for force in [false, true] {
        let late = store.requeue(by_hand.clone().force(force)).await.unwrap();
        assert_eq!(late, Requeued::NotThere);
    }
    assert_eq!(harness.written("a").await, 1);
}

/// Of many who requeue one letter, one does, and the others are told.
pub async fn a_letter_is_requeued_once_by_many<H: Harness>(harness: &H)
where
    H::Store: InboxAdmin + PoisonStore,
{
    let store = harness.store();
    deliver(&poisonous(harness, 1), Name("a"), fails::<H>).await.unwrap_err();
    let key = key_of(&store, "a").await;
    let requeues: Vec<_> = (0..4)
        .map(|who| {
            let store = store.clone();
            let by_hand = Intervention::new("billing", key, who.to_string());
            tokio::spawn(async move { store.requeue(by_hand).await.unwrap() })
        })
        .collect();
    let mut done = 0;
    for requeue in requeues {
        match requeue.await.unwrap() {
            Requeued::Done { payload: true } => done += 1,
            Requeued::Already { by: Some(_), .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(done, 1);
    let audit = store.audit(AuditFilter::default().key(key), Paging::default()).await.unwrap();
    assert_eq!(audit.items.len(), 1);
}

/// A letter whose message was handled after its window says nothing about it: the redelivery is a
/// duplicate, a requeue is refused, and the claim can be forgotten.
pub async fn a_message_that_was_handled_meanwhile_is_not_requeued<H: Harness>(harness: &H)
where
    H::Store: InboxAdmin + PoisonStore,
{
    let store = harness.store();
    deliver(&poisonous(harness, 1), Name("a"), fails::<H>).await.unwrap_err();
    harness.clock().advance(24 * 3600 + 2);
    // A layer that counts nothing leaves the letter behind.
    let layer =
        layer(harness, "billing").dead_letters(DeadLetterPolicy::after(1).count_starts(false));
    assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Handled(()));
    assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Duplicate);
    let by_hand = Intervention::new("billing", key_of(&store, "a").await, "Ann");
    for force in [false, true] {
        let refused = store.requeue(by_hand.clone().force(force)).await.unwrap();
        assert!(matches!(refused, Requeued::Handled { .. }), "{refused:?}");
    }
    let forgotten = store.forget(by_hand).await.unwrap();
    assert!(matches!(forgotten, Forgotten::Done(KeyState::Handled { .. })), "{forgotten:?}");
}

/// Whichever comes first: it is handled once, and nothing is left behind.
pub async fn a_requeue_and_a_delivery_at_once_take_effect_once<H: Harness>(harness: &H)
where
    H::Store: InboxAdmin + PoisonStore,
{
    const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let store = harness.store();
    let layer = poisonous(harness, 1);
    for name in NAMES {
        deliver(&layer, Name(name), fails::<H>).await.unwrap_err();
        let by_hand = Intervention::new("billing", key_of(&store, name).await, "Ann");
        let requeue = tokio::spawn({
            let (store, by_hand) = (store.clone(), by_hand.clone());
            async move { store.requeue(by_hand).await.unwrap() }
        });
        let delivery = tokio::spawn({
            let layer = layer.clone();
            async move { deliver(&layer, Name(name), writes::<H>).await }
        });
        let (requeued, delivered) = (requeue.await.unwrap(), delivery.await.unwrap());
        assert_eq!(requeued, Requeued::Done { payload: true });
        match delivered {
            Ok(outcome) => assert_eq!(outcome, Outcome::Handled(())),
            Err(error) => {
                assert!(error.is::<DeadLettered>() || error.is::<InFlight>(), "{error}");
                let second = deliver(&layer, Name(name), writes::<H>).await;
                assert_eq!(second.unwrap(), Outcome::Handled(()));
            }
        }
        assert_eq!(harness.written(name).await, 1);
        assert_eq!(store.requeue(by_hand).await.unwrap(), Requeued::NotThere);
    }
}

/// The letter goes, its claim stays.
pub async fn a_discarded_letter_stays_recognised<H: Harness>(harness: &H)
where
    H::Store: InboxAdmin + PoisonStore,
{
    let store = harness.store();
    let layer = poisonous(harness, 1);
    deliver(&layer, Name("a"), fails::<H>).await.unwrap_err();
    let by_hand = Intervention::new("billing", key_of(&store, "a").await, "Ann");
    let Discarded::Done(letter) = store.discard(by_hand.clone()).await.unwrap() else {
        panic!("there is a letter");
    };
    assert_eq!(letter.reason, "the handler failed on purpose");
    assert_eq!(store.discard(by_hand.clone()).await.unwrap(), Discarded::NotThere);
    assert_eq!(store.requeue(by_hand).await.unwrap(), Requeued::NotThere);
    assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Duplicate);
    assert_eq!(harness.written("a").await, 0);
}

/// Of all consumers or one, in either state, across pages; one letter comes with its payload.
pub async fn letters_are_listed_newest_first<H: Harness>(harness: &H)
where
    H::Store: InboxAdmin + PoisonStore,
{
    let store = harness.store();
    for name in ["a", "b", "c", "d"] {
        let consumer = if name == "d" { "shipping" } else { "billing" };
        let layer = layer(harness, consumer)
            .dead_letters(DeadLetterPolicy::after(1))
            .payload(payload as fn(&Name) -> Vec<u8>);
        deliver(&layer, Name(name), fails::<H>).await.unwrap_err();
        harness.clock().advance(10);
    }
    requeued(&store, "b").await;
    let list = async |filter: LetterFilter| {
        let (mut found, mut paging) = (Vec::new(), Paging::first(2));
        loop {
            let page = store.letters(filter.clone(), paging).await.unwrap();
            assert!(page.items.len() <= 2);
            found.extend(page.items);
            match page.next {
                None => return names(&store, &found).await,
                Some(next) => paging = Paging::first(2).after(next),
            }
        }
    };
    let all = LetterFilter::default();
    assert_eq!(list(all.clone()).await, ["d", "c", "b", "a"]);
    assert_eq!(list(all.clone().consumer("billing")).await, ["c", "b", "a"]);
    assert_eq!(list(all.clone().state(LetterState::Dead)).await, ["d", "c", "a"]);
    assert_eq!(list(all.consumer("billing").state(LetterState::Requeued)).await, ["b"]);

    let key = key_of(&store, "d").await;
    let letter = store.letter("shipping".into(), key).await.unwrap().unwrap();
    assert_eq!(letter.payload.as_deref(), Some(&b"d"[..]));
    assert_eq!(store.letter("billing".into(), key).await.unwrap(), None);
}

/// Newest first, across pages, of one consumer or one message.
pub async fn the_audit_says_who_did_what<H: Harness>(harness: &H)
where
    H::Store: InboxAdmin + PoisonStore,
{
    let store = harness.store();
    let layer = poisonous(harness, 1);
    for name in ["a", "b"] {
        deliver(&layer, Name(name), fails::<H>).await.unwrap_err();
    }
    requeued(&store, "a").await;
    requeued(&store, "b").await;
    assert_eq!(deliver(&layer, Name("b"), writes::<H>).await.unwrap(), Outcome::Handled(()));
    let by_hand = Intervention::new("billing", key_of(&store, "b").await, "Bob");
    store.forget(by_hand).await.unwrap();
    let by_hand = Intervention::new("billing", key_of(&store, "a").await, "Bob");
    store.discard(by_hand.clone()).await.unwrap();

    let all = AuditFilter::default();
    let first = store.audit(all.clone(), Paging::first(3)).await.unwrap();
    let second = store.audit(all, Paging::first(3).after(first.next.unwrap())).await.unwrap();
    assert_eq!(second.next, None);
    let entries: Vec<_> = first.items.iter().chain(&second.items).collect();
    let found: Vec<_> = entries.iter().map(|entry| (&*entry.actor, &*entry.action)).collect();
    assert_eq!(
        found,
        [("Bob", "discard"), ("Bob", "forget"), ("a test", "requeue"), ("a test", "requeue")]
    );
    assert!(entries.is_sorted_by(|later, earlier| later.number > earlier.number));
    let of_one = AuditFilter::default().consumer("billing").key(by_hand.key);
    assert_eq!(store.audit(of_one, Paging::default()).await.unwrap().items.len(), 2);
    let of_none = AuditFilter::default().consumer("none");
    assert_eq!(store.audit(of_none, Paging::default()).await.unwrap().items, []);
}

/// It is handled by the same stack and gone, or dies again, with its payload; what cannot be read
/// waits.
pub async fn a_requeued_letter_is_delivered_again<H: Harness>(harness: &H)
where
    H::Store: InboxAdmin + PoisonStore + RedeliveryStore,
{
    let store = harness.store();
    let layer = poisonous(harness, 1);
    for name in ["a", "b", "?"] {
        deliver(&layer, Name(name), fails::<H>).await.unwrap_err();
    }
    let service = layer.layer(Handler(|received: Received<Name, H::Connection>| async move {
        match received.message.0 {
            "b" => Err(Box::new(Oops) as BoxError),
            _ => writes::<H>(received).await,
        }
    }));
    let mut redelivery = Redelivery::new("billing", store.clone(), service, decode);
    assert!(redelivery.deliver_next().await.unwrap().is_none(), "nothing is requeued");
    for name in ["a", "b", "?"] {
        requeued(&store, name).await;
        harness.clock().advance(1);
    }
    let mut found = Vec::new();
    while let Some(Redelivered { key, result, .. }) = redelivery.deliver_next().await.unwrap() {
        found.push((key, result.map_err(|error| error.is::<DeadLettered>())));
    }
    let expected = [
        (key_of(&store, "a").await, Ok(Outcome::Handled(()))),
        (key_of(&store, "b").await, Err(true)),
        (key_of(&store, "?").await, Err(false)),
    ];
    assert_eq!(found, expected);
    assert_eq!(harness.written("a").await, 1);

    let letters = store.letters(LetterFilter::default(), Paging::default()).await.unwrap().items;
    assert_eq!(names(&store, &letters).await, ["b", "?"]);
    assert_eq!((letters[0].deaths, letters[0].state()), (2, LetterState::Dead));
    assert_eq!(letters[0].payload_bytes, Some(1));
    assert_eq!(letters[1].state(), LetterState::Requeued);
    let unreadable = redelivery.deliver_next().await.unwrap().unwrap().result.unwrap_err();
    assert!(unreadable.is::<UnreadableLetter>(), "{unreadable}");
}

/// Before the handling: another one takes the letter later. After it: the letter has ended with the
/// handling, or ends as a duplicate.
pub async fn a_redelivery_may_die_at_any_point<H: Harness>(harness: &H)
where
    H::Store: InboxAdmin + PoisonStore + RedeliveryStore,
{
    let store = harness.store();
    let counting = poisonous(harness, 1);
    let quiet = layer(harness, "billing")
        .dead_letters(DeadLetterPolicy::after(1).count_starts(false))
        .payload(payload as fn(&Name) -> Vec<u8>);
    for name in ["a", "b", "c"] {
        deliver(&counting, Name(name), fails::<H>).await.unwrap_err();
        requeued(&store, name).await;
        harness.clock().advance(1);
    }
    let hold = Duration::from_secs(60);
    let take = async |after| store.take_letter("billing".into(), after, hold).await.unwrap();
    let first = take(None).await.unwrap();
    let second = take(Some(first.next.clone())).await.unwrap();
    let third = take(Some(second.next.clone())).await.unwrap();
    assert_eq!(
        [&first.payload, &second.payload, &third.payload],
        [&b"a"[..], &b"b"[..], &b"c"[..]]
    );
    // The first one dies before the handling, the second and the third after it.
    assert_eq!(deliver(&counting, Name("b"), writes::<H>).await.unwrap(), Outcome::Handled(()));
    assert_eq!(deliver(&quiet, Name("c"), writes::<H>).await.unwrap(), Outcome::Handled(()));

    harness.clock().advance(61);
    let service = counting.layer(Handler(writes::<H>));
    let mut redelivery = Redelivery::new("billing", store.clone(), service, decode);
    let mut outcomes = Vec::new();
    while let Some(redelivered) = redelivery.deliver_next().await.unwrap() {
        outcomes.push((redelivered.key, redelivered.result.unwrap()));
    }
    assert_eq!(
        outcomes,
        [(first.id.key, Outcome::Handled(())), (third.id.key, Outcome::Duplicate)]
    );
    let letters = store.letters(LetterFilter::default(), Paging::default()).await.unwrap();
    assert_eq!(letters.items, []);
    for name in ["a", "b", "c"] {
        assert_eq!(harness.written(name).await, 1, "{name}");
    }
}

/// While it is held, unless it is put back; what is done to it later does not touch its next death.
pub async fn a_letter_that_was_taken_is_left_alone<H: Harness>(harness: &H)
where
    H::Store: InboxAdmin + PoisonStore + RedeliveryStore,
{
    let store = harness.store();
    let layer = poisonous(harness, 1);
    let hold = Duration::from_secs(60);
    let take = async || store.take_letter("billing".into(), None, hold).await.unwrap();
    assert!(take().await.is_none(), "the consumer is not registered yet");
    deliver(&layer, Name("a"), fails::<H>).await.unwrap_err();
    assert!(take().await.is_none(), "it is dead, and not requeued");
    requeued(&store, "a").await;
    let taken = take().await.unwrap();
    // Who saw its claim a moment ago must not take it for a duplicate.
    let buried = store.buried(taken.id.consumer, taken.id.key).await.unwrap();
    assert_eq!(buried, Buried::Freed);
    assert!(take().await.is_none());
    harness.clock().advance(61);
    assert_eq!(take().await.unwrap().id, taken.id);
    store.put_letter_back(taken.id, Duration::from_secs(10)).await.unwrap();
    assert!(take().await.is_none());
    harness.clock().advance(11);
    assert_eq!(take().await.unwrap().id, taken.id);
    store.put_letter_back(taken.id, Duration::ZERO).await.unwrap();
    assert_eq!(take().await.unwrap().id, taken.id);

    deliver(&layer, Name("a"), fails::<H>).await.unwrap_err();
    requeued(&store, "a").await;
    store.end_letter(taken.id).await.unwrap();
    store.put_letter_back(taken.id, hold).await.unwrap();
    let again = take().await.unwrap();
    assert_eq!((again.id.deaths, &*again.payload), (2, &b"a"[..]));
    store.end_letter(again.id).await.unwrap();
    store.end_letter(again.id).await.unwrap();
    let letters = store.letters(LetterFilter::default(), Paging::default()).await.unwrap();
    assert_eq!(letters.items, []);
}

/// Three drivers and a broker at the same letters: each message once.
pub async fn redeliveries_at_once_take_effect_once<H: Harness>(harness: &H)
where
    H::Store: InboxAdmin + PoisonStore + RedeliveryStore,
{
    const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let store = harness.store();
    let layer = poisonous(harness, 1);
    for name in NAMES {
        deliver(&layer, Name(name), fails::<H>).await.unwrap_err();
        requeued(&store, name).await;
    }
    // Two that are requeued meanwhile and one that is delivered do not disturb.
    let (stop, stopped) = tokio::sync::watch::channel(());
    let drivers: Vec<_> = (0..3)
        .map(|_| {
            let service = layer.layer(Handler(writes::<H>));
            let mut stopped = stopped.clone();
            let redelivery = Redelivery::new("billing", store.clone(), service, decode)
                .every(Duration::from_millis(20));
            tokio::spawn(redelivery.run(async move { stopped.changed().await.unwrap_or(()) }))
        })
        .collect();
    for name in NAMES {
        let _ = deliver(&layer, Name(name), writes::<H>).await;
    }
    let mut looks = 0;
    while !store.letters(LetterFilter::default(), Paging::default()).await.unwrap().items.is_empty()
    {
        looks += 1;
        assert!(looks < 6000, "a letter was never delivered");
        if looks % 500 == 0 {
            // One that a busy store could not put back is free again when its time is over.
            harness.clock().advance(301);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(stop);
    for driver in drivers {
        driver.await.unwrap();
    }
    for name in NAMES {
        assert_eq!(harness.written(name).await, 1, "{name}");
    }
}

/// By consumer and power of two, added to what is there.
pub async fn ages_of_duplicates_are_written_down<H: Harness>(harness: &H)
where
    H::Store: InboxAdmin + PoisonStore,
{
    let store = harness.store();
    let layer = layer(harness, "billing");
    assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Handled(()));
    let ages = async || store.ages("billing".into()).await.unwrap();
    assert_eq!(ages().await.total(), 0);
    for _ in 0..2 {
        for _ in 0..3 {
            harness.clock().advance(3600);
            assert_eq!(deliver(&layer, Name("a"), writes::<H>).await.unwrap(), Outcome::Duplicate);
        }
        store.write_ages().await.unwrap();
    }
    // The leased way counts, too, and the one that counts attempts.
    let leased = leased_layer(harness);
    let done = super::deliver_leased(&leased, Name("b"), succeeds).await.unwrap();
    assert_eq!(done, Outcome::Handled(()));
    let again = super::deliver_leased(&leased, Name("b"), |_: Leased<Name>| async { Ok(()) });
    assert_eq!(again.await.unwrap(), Outcome::Duplicate);
    let counting = poisonous(harness, 2);
    assert_eq!(deliver(&counting, Name("b"), writes::<H>).await.unwrap(), Outcome::Duplicate);
    store.write_ages().await.unwrap();
    store.write_ages().await.unwrap();

    let ages = ages().await;
    assert_eq!(ages.total(), 8);
    let share = |hours: u64| ages.share_within(Duration::from_secs(hours * 3600)).unwrap();
    // Two within seconds, then one to six hours.
    let within = [1, 2, 5, 10].map(|hours| share(hours) * 8.0);
    assert_eq!(within, [2.0, 3.0, 6.0, 8.0]);
}

type Poisonous<H> = InboxLayer<<H as Harness>::Store, WithPayload<ByText, fn(&Name) -> Vec<u8>>>;

/// A layer that gives up after so many attempts, and keeps the message.
fn poisonous<H: Harness>(harness: &H, attempts: u32) -> Poisonous<H>
where
    H::Store: PoisonStore,
{
    layer(harness, "billing")
        .in_flight_wait(Duration::from_secs(5))
        .dead_letters(DeadLetterPolicy::after(attempts))
        .payload(payload as fn(&Name) -> Vec<u8>)
}

fn payload(name: &Name) -> Vec<u8> {
    name.0.into()
}

fn decode(payload: Vec<u8>) -> Result<Name, BoxError> {
    const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let name = NAMES.into_iter().find(|name| name.as_bytes() == payload);
    name.map(Name).ok_or_else(|| "there is no such name".into())
}

async fn fails<H: Harness>(_: Received<Name, H::Connection>) -> Result<(), BoxError> {
    Err(Box::new(Oops))
}

async fn requeued<St: InboxAdmin + InboxStore>(store: &St, name: &'static str) {
    let by_hand = Intervention::new("billing", key_of(store, name).await, "a test");
    assert_eq!(store.requeue(by_hand).await.unwrap(), Requeued::Done { payload: true });
}

async fn claimed<St: InboxStore>(store: &St, claim: Claim) {
    let Claimed::Won(tx) = store.claim(claim).await.unwrap() else {
        panic!("nobody else claims");
    };
    tx.commit().await.unwrap();
}

/// The key that the layers here give to a name.
async fn key_of<St: InboxStore>(store: &St, name: &str) -> InboxKey {
    use crate::key::{KeyEncoder, KeyHasher, Xxh64Keyed};

    let secret = store.meta().await.unwrap().secret;
    let mut encoder = KeyEncoder::new("");
    encoder.field(name);
    Xxh64Keyed.key(encoder.finish().as_bytes(), &secret)
}

async fn names<St: InboxStore>(store: &St, letters: &[LetterSummary]) -> Vec<&'static str> {
    let mut found = Vec::new();
    for letter in letters {
        for name in ["a", "b", "c", "d", "e", "f", "g", "h", "?"] {
            if letter.key == key_of(store, name).await {
                found.push(name);
            }
        }
    }
    found
}

fn unix(time: std::time::SystemTime) -> i64 {
    let since = time.duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("before the end of time")
}
