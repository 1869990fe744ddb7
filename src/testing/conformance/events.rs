//! The facts that hold for every [`EventBackend`], one function each.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    events::{
        ClaimToken, EventIds, EventWindow, EventsErrorKind,
        backend::{ClaimAnswer, EventBackend},
    },
    testing::EventHarness,
};

/// Makes one test of every fact about event backends in
/// [`testing::conformance`](crate::testing::conformance).
///
/// The expression is evaluated in each test and gives a fresh
/// [`EventHarness`](crate::testing::EventHarness); it may `.await`. Attributes and arguments go in front,
/// as in [`conformance!`](crate::conformance). The tests wait for short windows and leases, some seconds
/// each on a real server.
///
/// ```text
/// tower_inbox::events_conformance!(MyHarness::start().await);
/// ```
#[macro_export]
macro_rules! events_conformance {
    (#[$attribute:meta] $arguments:tt => $harness:expr) => {
        $crate::conformance! { @ #[$attribute] $arguments $harness =>
            an_event_is_new_and_then_a_duplicate
            looking_marks_nothing
            a_batch_is_answered_in_order
            equal_events_of_a_batch_come_one_after_the_other
            a_batch_without_events_is_answered
            a_large_batch_is_answered_in_order
            ids_of_any_bytes_are_told_apart
            handles_share_marks_and_claims
            an_event_is_remembered_for_its_window_and_no_more_than_a_slot
            a_fixed_window_is_not_prolonged
            a_sliding_window_is_prolonged_by_duplicates
            windows_exist_side_by_side
            too_many_windows_are_refused
            a_window_without_end_does_not_end
            a_claimed_event_is_not_seen
            claimed_events_of_a_batch_come_one_after_the_other
            a_claim_is_repeated_under_its_token
            a_confirmed_claim_is_seen
            a_confirmed_event_is_remembered_for_its_window
            a_released_claim_is_free_at_once
            nobody_releases_the_claim_of_another
            a_lease_ends_by_itself
            a_late_confirmation_is_refused_to_who_was_overtaken
            a_late_confirmation_of_what_nobody_took_over_counts
            marks_do_not_look_at_claims
            clearing_forgets_marks_and_claims
            racing_marks_are_new_once
            racing_claims_are_granted_once
            batches_in_any_order_do_not_wait_for_each_other
            a_backend_that_works_is_healthy
        }
    };
    ($harness:expr) => {
        $crate::events_conformance!(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)] () => $harness
        );
    };
}

/// The first mark finds an event new, and every later one a duplicate.
pub async fn an_event_is_new_and_then_a_duplicate<H: EventHarness>(harness: &H) {
    let backend = harness.backend();
    for expected in [true, false, false] {
        assert_eq!(mark(&backend, &["a"]).await, [expected]);
    }
    assert_eq!(mark(&backend, &["b"]).await, [true], "another event is another event");
    assert_eq!(look(&backend, &["a", "b", "c"]).await, [true, true, false]);
}

/// What was only looked for is new.
pub async fn looking_marks_nothing<H: EventHarness>(harness: &H) {
    let backend = harness.backend();
    for _ in 0..2 {
        assert_eq!(look(&backend, &["a"]).await, [false]);
    }
    assert_eq!(mark(&backend, &["a"]).await, [true]);
    assert_eq!(look(&backend, &["a"]).await, [true]);
}

/// Each answer is at the place of its event.
pub async fn a_batch_is_answered_in_order<H: EventHarness>(harness: &H) {
    let backend = harness.backend();
    assert_eq!(mark(&backend, &["d", "b"]).await, [true, true]);
    assert_eq!(mark(&backend, &["e", "d", "c", "b", "a"]).await, [true, false, true, false, true]);
    assert_eq!(look(&backend, &["z", "a", "y", "e"]).await, [false, true, false, true]);
    let claimed = claim(&backend, &["x", "a", "w"], &[token(1), token(2), token(3)]).await;
    assert_eq!(claimed, [ClaimAnswer::Claimed, ClaimAnswer::Seen, ClaimAnswer::Claimed]);
    let confirmed = confirm(&backend, &["w", "x"], &[token(3), token(4)]).await;
    assert_eq!(confirmed, [true, false]);
    let released = release(&backend, &["w", "x", "v"], &[token(3), token(1), token(1)]).await;
    assert_eq!(released, [false, true, false]);
}

/// The second of two equal events is a duplicate of the first.
pub async fn equal_events_of_a_batch_come_one_after_the_other<H: EventHarness>(harness: &H) {
    let backend = harness.backend();
    let events = ["a", "b", "a", "a", "c", "b"];
    assert_eq!(mark(&backend, &events).await, [true, true, false, false, true, false]);
    assert_eq!(mark(&backend, &events).await, [false; 6]);
    assert_eq!(look(&backend, &["a", "a", "n", "n"]).await, [true, true, false, false]);
    let sliding = hour().sliding(true);
    let new = backend.mark(&ids(&["d", "a", "d"]), &sliding).await.unwrap();
    assert_eq!(new, [true, false, false]);
}

/// No events, no answers, and no error.
pub async fn a_batch_without_events_is_answered<H: EventHarness>(harness: &H) {
    let backend = harness.backend();
    let none = EventIds::new();
    assert!(backend.look(&none).await.unwrap().is_empty());
    assert!(backend.mark(&none, &hour()).await.unwrap().is_empty());
    assert!(backend.claim(&none, &[], LONG).await.unwrap().is_empty());
    assert!(backend.confirm(&none, &[], &hour()).await.unwrap().is_empty());
    assert!(backend.release(&none, &[]).await.unwrap().is_empty());
}

/// However a backend cuts a batch of ten thousand, with equal events far apart.
pub async fn a_large_batch_is_answered_in_order<H: EventHarness>(harness: &H) {
    let backend = harness.backend();
    let names: Vec<String> = (0..10_000).map(|n| format!("event {}", n % 7_000)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let new = mark(&backend, &names).await;
    assert_eq!(new.len(), names.len());
    let wrong = new.iter().enumerate().position(|(place, new)| *new != (place < 7_000));
    assert_eq!(wrong, None);
    assert!(look(&backend, &names).await.into_iter().all(|seen| seen));
}

/// Bytes that are no text, one byte, 64 KiB, ids that differ in one bit or are the beginning of another.
pub async fn ids_of_any_bytes_are_told_apart<H: EventHarness>(harness: &H) {
    let backend = harness.backend();
    let long = vec![0xa5; 64 * 1024];
    let mut long_but_one_bit = long.clone();
    *long_but_one_bit.last_mut().expect("64 KiB") ^= 1;
    let all: Vec<&[u8]> = vec![
        b"\xff\xfe\x00\x80",
        b"\xff\xfe\x00\x81",
        b"\x00",
        b"\x01",
        b"a",
        b"a\x00",
        b"it's {\"quoted\"}, \\ and $1\n",
        "größer als 日本".as_bytes(),
        &long,
        &long_but_one_bit,
        &long[1..],
    ];
    let ids: EventIds = all.iter().copied().collect();
    assert_eq!(backend.mark(&ids, &hour()).await.unwrap(), vec![true; all.len()]);
    assert_eq!(backend.mark(&ids, &hour()).await.unwrap(), vec![false; all.len()]);
    assert_eq!(backend.look(&ids).await.unwrap(), vec![true; all.len()]);
}

/// What is marked, claimed and released through one handle is known to the other.
pub async fn handles_share_marks_and_claims<H: EventHarness>(harness: &H) {
    let (one, other) = (harness.backend(), harness.another());
    assert_eq!(mark(&one, &["a"]).await, [true]);
    assert_eq!(look(&other, &["a"]).await, [true]);
    assert_eq!(mark(&other, &["a", "b"]).await, [false, true]);
    assert_eq!(mark(&one, &["b"]).await, [false]);
    assert_eq!(claim_one(&one, "c", 1).await, ClaimAnswer::Claimed);
    assert_eq!(claim_one(&other, "c", 2).await, ClaimAnswer::InFlight);
    assert_eq!(release(&one, &["c"], &[token(1)]).await, [true]);
    assert_eq!(claim_one(&other, "c", 2).await, ClaimAnswer::Claimed);
    assert_eq!(confirm(&other, &["c"], &[token(2)]).await, [true]);
    assert_eq!(look(&one, &["c"]).await, [true]);
}

/// For the window at least, counted from the moment before the mark to the one after the look; and not
/// for longer than the window and a slot.
pub async fn an_event_is_remembered_for_its_window_and_no_more_than_a_slot<H: EventHarness>(
    harness: &H,
) {
    let backend = harness.backend();
    // More than once, to begin at several places of a slot.
    for event in ["a", "b", "c", "d"] {
        let before = harness.now();
        assert_eq!(backend.mark(&ids(&[event]), &short()).await.unwrap(), [true]);
        let marked = harness.now();
        assert_remembered_until_forgotten(harness, event, before, marked).await;
        assert_eq!(
            backend.mark(&ids(&[event]), &short()).await.unwrap(),
            [true],
            "it is new again"
        );
        harness.pass(Duration::from_millis(30)).await;
    }
}

/// Duplicates make no difference to when an event is forgotten.
pub async fn a_fixed_window_is_not_prolonged<H: EventHarness>(harness: &H) {
    let backend = harness.backend();
    let before = harness.now();
    assert_eq!(backend.mark(&ids(&["a"]), &short()).await.unwrap(), [true]);
    let marked = harness.now();
    loop {
        harness.pass(Duration::from_millis(60)).await;
        let asked = harness.now();
        let new = backend.mark(&ids(&["a"]), &short()).await.unwrap()[0];
        if new {
            let took = harness.now() - before;
            assert!(took >= WINDOW, "forgotten after {took:?}");
            break;
        }
        assert!(asked - marked < WINDOW + SLOT, "prolonged by a duplicate");
    }
}

/// Each duplicate counts as a mark: the event is forgotten a window after the last.
pub async fn a_sliding_window_is_prolonged_by_duplicates<H: EventHarness>(harness: &H) {
    let backend = harness.backend();
    let window = short().sliding(true);
    let mut last = harness.now();
    assert_eq!(backend.mark(&ids(&["a"]), &window).await.unwrap(), [true]);
    let mut marked = harness.now();
    for _ in 0..12 {
        harness.pass(WINDOW / 4).await;
        let before = harness.now();
        let new = backend.mark(&ids(&["a"]), &window).await.unwrap()[0];
        marked = harness.now();
        // A machine that stood still for a window has forgotten it, and rightly.
        assert!(!new || marked - last >= WINDOW, "forgotten after {:?}", marked - last);
        last = before;
    }
    assert_remembered_until_forgotten(harness, "a", last, marked).await;
}

/// An event is remembered for the window that it was marked with.
pub async fn windows_exist_side_by_side<H: EventHarness>(harness: &H) {
    let backend = harness.backend();
    let other = EventWindow::new(WINDOW * 2).and_then(|window| window.with_slot(SLOT));
    let other = other.expect("it fits");
    // A machine that stands still for a window makes a try worth nothing.
    for attempt in 0..5 {
        let names = ["a", "b", "c", "d"].map(|name| format!("{name}{attempt}"));
        let [a, b, c, d] = names.each_ref().map(String::as_str);
        let before = harness.now();
        assert_eq!(backend.mark(&ids(&[a, b]), &short()).await.unwrap(), [true, true]);
        assert_eq!(backend.mark(&ids(&[c]), &other).await.unwrap(), [true]);
        let new = mark(&backend, &[d, b]).await;
        if harness.now() - before >= WINDOW {
            continue;
        }
        assert_eq!(new, [true, false]);
        harness.pass(WINDOW * 2 + SLOT).await;
        assert_eq!(look(&backend, &[a, b, c, d]).await, [false, false, false, true]);
        assert_eq!(mark(&backend, &[a, b, c, d]).await, [true, true, true, false]);
        return;
    }
    panic!("no try was quick enough to say anything");
}

/// One distinct window more than there may be is refused; those that are there go on.
pub async fn too_many_windows_are_refused<H: EventHarness>(harness: &H) {
    let Some(most) = harness.max_windows() else { return };
    let backend = harness.backend();
    let window =
        |n: usize| EventWindow::new(LONG + Duration::from_secs(n as u64)).expect("it fits");
    for n in 0..most {
        let new = backend.mark(&ids(&[&format!("event {n}")]), &window(n)).await.unwrap();
        assert_eq!(new, [true], "window {n} of {most}");
        // A backend may keep events in parts that count for themselves.
        let many: Vec<_> = (0..500).map(|event| format!("{event} of {n}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        backend.mark(&ids(&many), &window(n)).await.unwrap();
    }
    let error = backend.mark(&ids(&["a"]), &window(most)).await.unwrap_err();
    assert_eq!(error.kind(), EventsErrorKind::TooManyWindows);
    assert_eq!(claim_one(&backend, "a", 1).await, ClaimAnswer::Claimed);
    let error = backend.confirm(&ids(&["a"]), &[token(1)], &window(most)).await.unwrap_err();
    assert_eq!(error.kind(), EventsErrorKind::TooManyWindows);
    for n in 0..most {
        let new = backend.mark(&ids(&[&format!("event {n}"), "b"]), &window(n)).await.unwrap();
        assert_eq!(new, [false, n == 0], "window {n} of {most}");
    }
}

/// Until it is cleared.
pub async fn a_window_without_end_does_not_end<H: EventHarness>(harness: &H) {
    let backend = harness.backend();
    for (event, window) in
        [("a", EventWindow::forever()), ("b", EventWindow::forever().sliding(true))]
    {
        assert_eq!(backend.mark(&ids(&[event]), &window).await.unwrap(), [true]);
        assert_eq!(backend.mark(&ids(&[event]), &window).await.unwrap(), [false]);
    }
    harness.pass(WINDOW * 2).await;
    assert_eq!(look(&backend, &["a", "b"]).await, [true, true]);
    backend.clear().await.unwrap();
    assert_eq!(look(&backend, &["a", "b"]).await, [false, false]);
}

/// Its handler may yet fail: it is in flight, which is something else.
pub async fn a_claimed_event_is_not_seen<H: EventHarness>(harness: &H) {
    let backend = harness.backend();
    assert_eq!(claim_one(&backend, "a", 1).await, ClaimAnswer::Claimed);
    assert_eq!(look(&backend, &["a"]).await, [false]);
    assert_eq!(claim_one(&backend, "a", 2).await, ClaimAnswer::InFlight);
}

/// Of equal events the first is claimed, and the others are in flight or seen.
pub async fn claimed_events_of_a_batch_come_one_after_the_other<H: EventHarness>(harness: &H) {
    use ClaimAnswer::{Claimed, InFlight, Seen};
    let backend = harness.backend();
    mark(&backend, &["s"]).await;
    assert_eq!(claim_one(&backend, "f", 9).await, Claimed);
    let events = ["a", "s", "f", "a", "b", "f", "s", "a"];
    let tokens = [1, 2, 3, 4, 5, 6, 7, 1].map(token);
    let claimed = claim(&backend, &events, &tokens).await;
    assert_eq!(claimed, [Claimed, Seen, InFlight, InFlight, Claimed, InFlight, Seen, Claimed]);
    let claimed = claim(&backend, &["f", "f", "f"], &[1, 9, 1].map(token)).await;
    assert_eq!(claimed, [InFlight, Claimed, InFlight], "the second is the owner's");

    let confirmed = confirm(&backend, &["f", "f", "f", "a"], &[1, 9, 1, 1].map(token)).await;
    assert_eq!(confirmed, [false, true, true, true], "after the second it is nobody else's");
    let released = release(&backend, &["b", "b", "b"], &[1, 5, 5].map(token)).await;
    assert_eq!(released, [false, true, false], "after the second there is nothing to give up");
}

/// Whoever lost the answer asks again and gets it.
pub async fn a_claim_is_repeated_under_its_token<H: EventHarness>(harness: &H) {
    let (backend, other) = (harness.backend(), harness.another());
    for _ in 0..3 {
        assert_eq!(claim_one(&backend, "a", 1).await, ClaimAnswer::Claimed);
        assert_eq!(claim_one(&other, "a", 2).await, ClaimAnswer::InFlight);
    }
}

/// Confirmed, it is seen by everybody; to confirm it once more changes nothing.
pub async fn a_confirmed_claim_is_seen<H: EventHarness>(harness: &H) {
    let (backend, other) = (harness.backend(), harness.another());
    assert_eq!(claim_one(&backend, "a", 1).await, ClaimAnswer::Claimed);
    for _ in 0..2 {
        assert_eq!(confirm(&backend, &["a"], &[token(1)]).await, [true]);
        assert_eq!(look(&other, &["a"]).await, [true]);
        assert_eq!(claim_one(&other, "a", 2).await, ClaimAnswer::Seen);
        assert_eq!(claim_one(&backend, "a", 1).await, ClaimAnswer::Seen);
    }
    assert_eq!(release(&backend, &["a"], &[token(1)]).await, [false], "there is no claim any more");
    assert_eq!(look(&backend, &["a"]).await, [true]);
}

/// The window counts from the confirmation, not from the claim.
pub async fn a_confirmed_event_is_remembered_for_its_window<H: EventHarness>(harness: &H) {
    let backend = harness.backend();
    assert_eq!(claim_one(&backend, "a", 1).await, ClaimAnswer::Claimed);
    harness.pass(WINDOW / 2).await;
    let before = harness.now();
    let confirmed = backend.confirm(&ids(&["a"]), &[token(1)], &short()).await.unwrap();
    assert_eq!(confirmed, [true]);
    let marked = harness.now();
    assert_remembered_until_forgotten(harness, "a", before, marked).await;
    assert_eq!(claim_one(&backend, "a", 2).await, ClaimAnswer::Claimed);
}

/// The next one to ask gets it.
pub async fn a_released_claim_is_free_at_once<H: EventHarness>(harness: &H) {
    let (backend, other) = (harness.backend(), harness.another());
    for round in 0..3 {
        assert_eq!(claim_one(&backend, "a", 1).await, ClaimAnswer::Claimed, "{round}");
        assert_eq!(release(&backend, &["a"], &[token(1)]).await, [true]);
        assert_eq!(look(&backend, &["a"]).await, [false]);
        assert_eq!(claim_one(&other, "a", 2).await, ClaimAnswer::Claimed, "{round}");
        assert_eq!(release(&other, &["a"], &[token(2)]).await, [true]);
        assert_eq!(release(&other, &["a"], &[token(2)]).await, [false], "once is enough");
    }
    assert_eq!(mark(&backend, &["a"]).await, [true]);
}

/// Nor confirms it.
pub async fn nobody_releases_the_claim_of_another<H: EventHarness>(harness: &H) {
    let (backend, other) = (harness.backend(), harness.another());
    assert_eq!(claim_one(&backend, "a", 1).await, ClaimAnswer::Claimed);
    assert_eq!(release(&other, &["a"], &[token(2)]).await, [false]);
    assert_eq!(confirm(&other, &["a"], &[token(2)]).await, [false]);
    assert_eq!(look(&backend, &["a"]).await, [false], "nothing is changed");
    assert_eq!(claim_one(&other, "a", 3).await, ClaimAnswer::InFlight);
    assert_eq!(confirm(&backend, &["a"], &[token(1)]).await, [true]);
}

/// Not before its time, and soon after it.
pub async fn a_lease_ends_by_itself<H: EventHarness>(harness: &H) {
    let (backend, other) = (harness.backend(), harness.another());
    let before = harness.now();
    assert_eq!(claim_for(&backend, "a", 1, LEASE).await, ClaimAnswer::Claimed);
    let claimed = harness.now();
    loop {
        let asked = harness.now();
        match claim_for(&other, "a", 2, LONG).await {
            ClaimAnswer::Claimed => break,
            ClaimAnswer::InFlight => {}
            ClaimAnswer::Seen => panic!("nobody has confirmed it"),
        }
        assert!(asked - claimed < LEASE + SLOT, "the lease does not end");
        harness.pass(Duration::from_millis(20)).await;
    }
    let took = harness.now() - before;
    assert!(took >= LEASE, "the lease was over after {took:?}");
}

/// Somebody else has the event, and it is theirs to confirm.
pub async fn a_late_confirmation_is_refused_to_who_was_overtaken<H: EventHarness>(harness: &H) {
    let (late, other) = (harness.backend(), harness.another());
    assert_eq!(claim_for(&late, "a", 1, LEASE).await, ClaimAnswer::Claimed);
    harness.pass(LEASE + SLOT).await;
    assert_eq!(claim_one(&other, "a", 2).await, ClaimAnswer::Claimed);
    assert_eq!(confirm(&late, &["a"], &[token(1)]).await, [false]);
    assert_eq!(look(&late, &["a"]).await, [false], "nothing is changed");
    assert_eq!(release(&late, &["a"], &[token(1)]).await, [false]);
    assert_eq!(claim_one(&late, "a", 1).await, ClaimAnswer::InFlight);
    assert_eq!(confirm(&other, &["a"], &[token(2)]).await, [true]);
    assert_eq!(look(&late, &["a"]).await, [true]);
}

/// It was handled, if late.
pub async fn a_late_confirmation_of_what_nobody_took_over_counts<H: EventHarness>(harness: &H) {
    let backend = harness.backend();
    assert_eq!(claim_for(&backend, "a", 1, LEASE).await, ClaimAnswer::Claimed);
    harness.pass(LEASE + SLOT).await;
    assert_eq!(confirm(&backend, &["a"], &[token(1)]).await, [true]);
    assert_eq!(look(&backend, &["a"]).await, [true]);
    assert_eq!(claim_one(&backend, "a", 2).await, ClaimAnswer::Seen);
}

/// A claimed event is marked like any other, and then it is seen; the claim is still its owner's.
pub async fn marks_do_not_look_at_claims<H: EventHarness>(harness: &H) {
    let (backend, other) = (harness.backend(), harness.another());
    assert_eq!(claim_one(&backend, "a", 1).await, ClaimAnswer::Claimed);
    assert_eq!(mark(&other, &["a"]).await, [true]);
    assert_eq!(mark(&other, &["a"]).await, [false]);
    assert_eq!(claim_one(&other, "a", 2).await, ClaimAnswer::Seen);
    assert_eq!(confirm(&backend, &["a"], &[token(1)]).await, [true]);
    assert_eq!(look(&backend, &["a"]).await, [true]);
}

/// Everything is new again, through both handles, and is marked and claimed like before.
pub async fn clearing_forgets_marks_and_claims<H: EventHarness>(harness: &H) {
    let (backend, other) = (harness.backend(), harness.another());
    for round in 0..3 {
        let names: Vec<String> = (0..100).map(|n| format!("event {n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(mark(&backend, &names).await, [true; 100], "{round}");
        assert_eq!(mark(&other, &names).await, [false; 100], "{round}");
        assert_eq!(claim_one(&other, "a", 1).await, ClaimAnswer::Claimed, "{round}");
        let clearing = if round % 2 == 0 { &backend } else { &other };
        clearing.clear().await.unwrap();
        assert_eq!(look(&other, &names).await, [false; 100], "{round}");
        assert_eq!(look(&backend, &names).await, [false; 100], "{round}");
        assert_eq!(claim_one(&backend, "a", 2).await, ClaimAnswer::Claimed, "{round}");
        assert_eq!(release(&other, &["a"], &[token(1)]).await, [false], "{round}");
        assert_eq!(release(&backend, &["a"], &[token(2)]).await, [true], "{round}");
    }
    backend.clear().await.unwrap();
    other.clear().await.unwrap();
    assert_eq!(mark(&other, &["a"]).await, [true]);
}

/// Eight tasks mark the same 500 events through two handles, each in an order of its own.
pub async fn racing_marks_are_new_once<H: EventHarness>(harness: &H) {
    for window in [hour(), hour().sliding(true)] {
        let tasks: Vec<_> = racers(harness)
            .map(|(_, backend, names)| {
                tokio::spawn(async move {
                    let mut new = Vec::new();
                    for names in names.chunks(50) {
                        let answers = backend.mark(&owned(names), &window).await.unwrap();
                        new.extend(names.iter().zip(answers).filter(|(_, new)| *new).map(first));
                    }
                    new
                })
            })
            .collect();
        assert_each_once(tasks).await;
        harness.backend().clear().await.unwrap();
    }
}

/// Eight tasks claim the same 500 events; half of what they win they confirm.
pub async fn racing_claims_are_granted_once<H: EventHarness>(harness: &H) {
    let tasks: Vec<_> = racers(harness)
        .map(|(racer, backend, names)| {
            tokio::spawn(async move {
                let mut granted = Vec::new();
                for names in names.chunks(50) {
                    let tokens = vec![token(racer); names.len()];
                    let answers = backend.claim(&owned(names), &tokens, LONG).await.unwrap();
                    let claimed = |(_, answer): &(_, ClaimAnswer)| *answer == ClaimAnswer::Claimed;
                    let won: Vec<String> =
                        names.iter().zip(answers).filter(claimed).map(first).collect();
                    let half = &won[..won.len() / 2];
                    let tokens = vec![token(racer); half.len()];
                    let confirmed = backend.confirm(&owned(half), &tokens, &hour()).await.unwrap();
                    assert!(confirmed.into_iter().all(|confirmed| confirmed));
                    granted.extend(won);
                }
                granted
            })
        })
        .collect();
    assert_each_once(tasks).await;
}

/// Batches of the same events in opposite orders, over and over: none is refused for it.
pub async fn batches_in_any_order_do_not_wait_for_each_other<H: EventHarness>(harness: &H) {
    let tasks: Vec<_> = racers(harness)
        .map(|(racer, backend, names)| {
            tokio::spawn(async move {
                let (ids, tokens) = (owned(&names[..200]), vec![token(racer); 200]);
                for _ in 0..10 {
                    backend.claim(&ids, &tokens, LONG).await.unwrap();
                    backend.release(&ids, &tokens).await.unwrap();
                    backend.mark(&ids, &hour().sliding(true)).await.unwrap();
                    backend.confirm(&ids, &tokens, &hour()).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// And says so.
pub async fn a_backend_that_works_is_healthy<H: EventHarness>(harness: &H) {
    let backend = harness.backend();
    mark(&backend, &["a"]).await;
    let health = backend.health().await.unwrap();
    assert!(health.is_healthy(), "{health:?}");
    assert!(!backend.name().is_empty());
}

/// Looks until the event is forgotten, and holds the time against the window. It was marked some time
/// between two moments.
async fn assert_remembered_until_forgotten<H: EventHarness>(
    harness: &H,
    event: &str,
    before: Duration,
    marked: Duration,
) {
    let backend = harness.another();
    loop {
        let asked = harness.now();
        let seen = look(&backend, &[event]).await[0];
        if !seen {
            let took = harness.now() - before;
            assert!(took >= WINDOW, "forgotten after {took:?}");
            return;
        }
        assert!(asked - marked < WINDOW + SLOT, "remembered for {:?}", asked - marked);
        harness.pass(Duration::from_millis(15)).await;
    }
}

/// Eight racers: a number, one of two handles, and the same 500 names in an order of its own.
fn racers<H: EventHarness>(
    harness: &H,
) -> impl Iterator<Item = (u64, Arc<dyn EventBackend>, Vec<String>)> {
    // Each number is coprime to 500, so that it meets every name once.
    [1, 3, 7, 499, 497, 121, 13, 11].into_iter().zip(0..).map(|(step, racer)| {
        let backend = if racer % 2 == 0 { harness.backend() } else { harness.another() };
        let names = (0..EVENTS).map(|n| format!("event {}", (n * step + racer * 60) % EVENTS));
        (racer, backend, names.collect())
    })
}

async fn assert_each_once(tasks: Vec<tokio::task::JoinHandle<Vec<String>>>) {
    let mut times = BTreeMap::<String, u32>::new();
    for task in tasks {
        for name in task.await.unwrap() {
            *times.entry(name).or_default() += 1;
        }
    }
    let wrong: BTreeSet<_> = times.iter().filter(|(_, times)| **times != 1).collect();
    assert!(wrong.is_empty(), "more than once: {wrong:?}");
    assert_eq!(times.len() as u64, EVENTS, "some are nobody's");
}

fn first<T>((name, _): (&String, T)) -> String {
    name.clone()
}

fn ids(names: &[&str]) -> EventIds {
    names.iter().map(|name| name.as_bytes()).collect()
}

fn owned(names: &[String]) -> EventIds {
    names.iter().map(|name| name.as_bytes()).collect()
}

async fn look(backend: &Arc<dyn EventBackend>, names: &[&str]) -> Vec<bool> {
    backend.look(&ids(names)).await.unwrap()
}

async fn mark(backend: &Arc<dyn EventBackend>, names: &[&str]) -> Vec<bool> {
    backend.mark(&ids(names), &hour()).await.unwrap()
}

async fn claim(
    backend: &Arc<dyn EventBackend>,
    names: &[&str],
    tokens: &[ClaimToken],
) -> Vec<ClaimAnswer> {
    backend.claim(&ids(names), tokens, LONG).await.unwrap()
}

async fn claim_one(backend: &Arc<dyn EventBackend>, name: &str, owner: u64) -> ClaimAnswer {
    claim_for(backend, name, owner, LONG).await
}

async fn claim_for(
    backend: &Arc<dyn EventBackend>,
    name: &str,
    owner: u64,
    lease: Duration,
) -> ClaimAnswer {
    backend.claim(&ids(&[name]), &[token(owner)], lease).await.unwrap()[0]
}

async fn confirm(
    backend: &Arc<dyn EventBackend>,
    names: &[&str],
    tokens: &[ClaimToken],
) -> Vec<bool> {
    backend.confirm(&ids(names), tokens, &hour()).await.unwrap()
}

async fn release(
    backend: &Arc<dyn EventBackend>,
    names: &[&str],
    tokens: &[ClaimToken],
) -> Vec<bool> {
    backend.release(&ids(names), tokens).await.unwrap()
}

fn token(number: u64) -> ClaimToken {
    let mut bytes = [0xc7; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    ClaimToken::from_bytes(bytes)
}

/// One that does not end while a test runs.
fn hour() -> EventWindow {
    EventWindow::new(LONG).expect("an hour is a window")
}

/// One that a test waits for.
fn short() -> EventWindow {
    EventWindow::new(WINDOW).and_then(|window| window.with_slot(SLOT)).expect("it fits")
}

const LONG: Duration = Duration::from_secs(3600);
const WINDOW: Duration = Duration::from_millis(400);
const SLOT: Duration = Duration::from_millis(100);
const LEASE: Duration = Duration::from_millis(300);
const EVENTS: u64 = 500;
