//! The event deduplicator and its layer, on the memory of a process and on backends that fail.
#![cfg(feature = "events")]

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tower::{Layer, Service, ServiceExt, service_fn};
use tower_inbox::{
    BoxError, Outcome,
    events::{
        ClaimToken, Claimed, DedupLayer, DeduplicationConfig, DeduplicationConfigBuilder,
        EventDeduplicator, EventIdExtractor, EventIds, EventInFlight, EventWindow, EventsError,
        EventsErrorKind, FailurePolicy, Retries,
        backend::{BackendError, ClaimAnswer, EventBackend, Health, MemoryBackend, Traffic},
    },
    hook::BoxFuture,
};

#[tokio::test]
async fn an_event_is_new_once() {
    let events = numbers(config());
    assert!(!events.is_duplicate(&1).await.unwrap());
    assert!(events.check_and_mark(&1).await.unwrap());
    assert!(!events.check_and_mark(&1).await.unwrap());
    assert!(events.is_duplicate(&1).await.unwrap());
    events.mark_seen(&2).await.unwrap();
    assert!(events.clone().is_duplicate(&2).await.unwrap());
}

#[tokio::test]
async fn a_batch_is_filtered_in_order_with_its_own_duplicates() {
    let events = numbers(config());
    events.mark_seen(&3).await.unwrap();
    let batch = [5, 3, 1, 5, 2, 1];
    assert_eq!(events.filter(&batch).await.unwrap(), [&5, &1, &2]);
    assert_eq!(events.batch_check_duplicates(&[5, 9]).await.unwrap(), [true, false]);
    assert!(events.filter(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_claim_is_confirmed_or_released() {
    let events = numbers(config());
    let claim = claimed(events.claim(&1).await.unwrap());
    assert!(matches!(events.claim(&1).await.unwrap(), Claimed::InFlight));
    assert!(!events.is_duplicate(&1).await.unwrap(), "a claimed one is not a duplicate");
    events.release(&claim).await.unwrap();
    let claim = claimed(events.claim(&1).await.unwrap());
    events.confirm(&claim).await.unwrap();
    events.confirm(&claim).await.unwrap();
    assert!(matches!(events.claim(&1).await.unwrap(), Claimed::Duplicate));

    let all = events.batch_claim(&[1, 2, 3, 2]).await.unwrap();
    assert!(matches!(
        all[..],
        [Claimed::Duplicate, Claimed::New(_), Claimed::New(_), Claimed::InFlight]
    ));
    let claims: Vec<_> = all.into_iter().filter_map(Claimed::claim).collect();
    assert_eq!(events.batch_confirm(&claims[..1]).await.unwrap(), [true]);
    events.batch_release(&claims[1..]).await.unwrap();
    assert_eq!(events.batch_check_duplicates(&[2, 3]).await.unwrap(), [true, false]);
}

#[tokio::test]
async fn a_late_confirmation_is_refused() {
    let events = numbers(config().lease(Duration::from_millis(20)));
    let late = claimed(events.claim(&1).await.unwrap());
    tokio::time::sleep(Duration::from_millis(30)).await;
    let other = claimed(events.claim(&1).await.unwrap());
    let error = events.confirm(&late).await.unwrap_err();
    assert_eq!(error.kind(), EventsErrorKind::LeaseLost);
    events.release(&late).await.unwrap();
    assert!(
        matches!(events.claim(&1).await.unwrap(), Claimed::InFlight),
        "it is the other's still"
    );
    events.confirm(&other).await.unwrap();
}

#[tokio::test]
async fn a_duplicate_that_a_claim_finds_prolongs_a_sliding_window() {
    let (window, slot) = (Duration::from_millis(200), Duration::from_millis(10));
    for sliding in [true, false] {
        let events = numbers(config().window(window).slot(slot).sliding(sliding));
        events.batch_mark_seen(&[1, 2]).await.unwrap();
        tokio::time::sleep(window * 3 / 4).await;
        assert!(matches!(events.claim(&1).await.unwrap(), Claimed::Duplicate));
        let claimed = events.batch_claim(&[2]).await.unwrap();
        assert!(matches!(claimed[..], [Claimed::Duplicate]));
        tokio::time::sleep(window / 2).await;
        let seen = events.batch_check_duplicates(&[1, 2]).await.unwrap();
        assert_eq!(seen, [sliding; 2]);
    }
}

#[tokio::test]
async fn the_layer_handles_an_event_once() {
    let events = numbers(config());
    let handled = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&handled);
    let service = DedupLayer::new(events.clone()).layer(service_fn(move |number: u64| {
        let count = Arc::clone(&count);
        async move {
            count.fetch_add(1, Ordering::SeqCst);
            if number == 13 { Err::<u64, BoxError>("unlucky".into()) } else { Ok(number * 2) }
        }
    }));
    assert_eq!(service.clone().oneshot(1).await.unwrap(), Outcome::Handled(2));
    assert_eq!(service.clone().oneshot(1).await.unwrap(), Outcome::Duplicate);
    for _ in 0..2 {
        let error = service.clone().oneshot(13).await.unwrap_err();
        assert_eq!(error.to_string(), "unlucky", "a failed event is free at once");
    }
    assert_eq!(handled.load(Ordering::SeqCst), 3);
    let _held = claimed(events.claim(&7).await.unwrap());
    let error = service.oneshot(7).await.unwrap_err();
    let in_flight = error.downcast_ref::<EventInFlight>().unwrap();
    assert_eq!(in_flight.retry_after, events.config().lease());
}

#[tokio::test]
async fn a_dropped_call_is_in_flight_until_its_lease_is_over() {
    let lease = Duration::from_millis(50);
    let events = numbers(config().lease(lease));
    let hangs = DedupLayer::new(events.clone())
        .layer(service_fn(|_: u64| std::future::pending::<Result<(), BoxError>>()));
    let short = Duration::from_millis(10);
    assert!(tokio::time::timeout(short, hangs.oneshot(1)).await.is_err());
    assert!(matches!(events.claim(&1).await.unwrap(), Claimed::InFlight));
    tokio::time::sleep(lease).await;
    assert!(matches!(events.claim(&1).await.unwrap(), Claimed::New(_)));
}

#[tokio::test]
async fn at_most_once_loses_what_fails() {
    let fails = DedupLayer::at_most_once(numbers(config()))
        .layer(service_fn(async |_: u64| Err::<(), BoxError>("no".into())));
    assert!(fails.clone().oneshot(1).await.is_err());
    assert_eq!(fails.oneshot(1).await.unwrap(), Outcome::Duplicate);
}

#[tokio::test]
async fn readiness_is_the_inner_service_s_own() {
    let (mock, mut handle) = tower_test::mock::pair::<u64, ()>();
    let mut service = DedupLayer::new(numbers(config())).layer(mock);
    handle.allow(0);
    let waker = std::task::Waker::noop();
    let mut cx = std::task::Context::from_waker(waker);
    assert!(service.poll_ready(&mut cx).is_pending());
    handle.allow(1);
    service.ready().await.unwrap();
    let call = tokio::spawn(service.call(1));
    let (_, reply) = handle.next_request().await.unwrap();
    reply.send_response(());
    assert_eq!(call.await.unwrap().unwrap(), Outcome::Handled(()));
}

#[cfg(feature = "derive")]
#[tokio::test]
async fn the_derive_chooses_the_fields() {
    #[derive(tower_inbox::Dedup)]
    #[dedup_by(order_id)]
    struct Paid {
        order_id: u64,
        attempt: u32,
    }
    let by_derive = EventIdExtractor::<Paid>::dedup();
    let events = EventDeduplicator::new(config().build().unwrap(), by_derive).await.unwrap();
    let paid = |attempt| Paid { order_id: 7, attempt };
    assert!(events.check_and_mark(&paid(1)).await.unwrap());
    assert!(events.is_duplicate(&paid(2)).await.unwrap());
    assert_eq!(paid(3).attempt, 3);
}

#[tokio::test]
async fn bad_ids_are_errors_and_mark_nothing() {
    let by_text = EventIdExtractor::string(|text: &String| text.clone());
    let config = config().max_id_bytes(1000).build().unwrap();
    let events = EventDeduplicator::new(config, by_text).await.unwrap();
    let long = "x".repeat(1 << 20);
    for bad in [String::new(), long] {
        let error = events.batch_check_and_mark(&["good".to_owned(), bad]).await.unwrap_err();
        assert_eq!((error.kind(), error.attempts()), (EventsErrorKind::BadId, 0));
        assert!(error.source().is_some());
    }
    assert!(!events.is_duplicate(&"good".to_owned()).await.unwrap());
}

#[tokio::test]
async fn ways_that_lead_nowhere_are_refused() {
    for (store, reason) in [
        ("memroy", "none of memory"),
        ("http://user:secret@host/", "none of memory"),
        #[cfg(not(feature = "redis"))]
        ("redis://localhost", "feature `redis`"),
        #[cfg(not(feature = "postgres"))]
        ("postgres://localhost", "feature `postgres`"),
        #[cfg(feature = "redis")]
        ("redis://", "not valid"),
        #[cfg(feature = "redis")]
        ("redis-sentinel://127.0.0.1:1", "master's name"),
        #[cfg(feature = "redis")]
        ("redis-cluster://127.0.0.1:1/3", "only database 0"),
        #[cfg(all(feature = "redis", not(feature = "redis-tls")))]
        ("rediss://localhost", "redis-tls"),
    ] {
        let config = config().store(store).build().unwrap();
        let by_number = EventIdExtractor::hash(|number: &u64| *number);
        let error = EventDeduplicator::new(config, by_number).await.unwrap_err();
        assert_eq!(error.kind(), EventsErrorKind::Config, "{store}");
        let text = all_of(&error);
        assert!(text.contains(reason), "{store}: {text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn the_local_cache_answers_for_what_this_process_marked() {
    let failing = Failing::new(0, EventsErrorKind::Busy);
    let config = config().local_cache(100).build().unwrap();
    let by_number = EventIdExtractor::hash(|number: &u64| *number);
    let events = EventDeduplicator::with_backend(config, by_number, failing.clone());
    assert!(events.check_and_mark(&1).await.unwrap());
    let asked = failing.asked();
    assert!(events.is_duplicate(&1).await.unwrap());
    assert!(matches!(events.claim(&1).await.unwrap(), Claimed::Duplicate));
    assert_eq!(failing.asked(), asked, "no round trip");
    let new = events.batch_check_and_mark(&[2, 1, 3]).await.unwrap();
    assert_eq!(new, [true, false, true]);
    events.clear().await.unwrap();
    assert!(!events.is_duplicate(&1).await.unwrap());
    let stats = events.stats();
    assert_eq!((stats.cache_hits, stats.cache_misses), (3, 4));
    assert!((stats.cache_hit_rate() - 3.0 / 7.0).abs() < 1e-9);
}

#[tokio::test]
async fn what_fails_for_a_moment_is_asked_again() {
    let failing = Failing::new(2, EventsErrorKind::Busy);
    let events = on(failing.clone(), config().retries(quick(3)));
    assert!(events.check_and_mark(&1).await.unwrap());
    assert_eq!((failing.asked(), events.stats().retry_count), (3, 2));
}

#[tokio::test]
async fn retries_end_with_an_error_that_says_what_was_tried() {
    let failing = Failing::new(u32::MAX, EventsErrorKind::Unreachable);
    let events = on(failing.clone(), config().retries(quick(2)));
    let error = events.is_duplicate(&1).await.unwrap_err();
    let expected = "failing is_duplicate: the server could not be reached (tried 3 times)";
    assert_eq!(error.to_string(), expected);
    assert_eq!(
        (error.backend(), error.operation(), error.attempts()),
        ("failing", "is_duplicate", 3)
    );
    let stats = events.stats();
    assert_eq!((stats.error_count, stats.operations, stats.events_checked), (1, 1, 0));
    assert!((stats.error_rate() - 1.0).abs() < 1e-9);
}

#[tokio::test]
async fn a_mark_whose_answer_was_lost_is_not_repeated_and_a_claim_is() {
    let lost = || Failing::new(1, EventsErrorKind::OutcomeUnknown);
    let failing = lost();
    let events = on(failing.clone(), config().retries(quick(3)));
    let error = events.check_and_mark(&1).await.unwrap_err();
    assert_eq!((error.kind(), failing.asked()), (EventsErrorKind::OutcomeUnknown, 1));

    let failing = lost();
    let events = on(failing.clone(), config().retries(quick(3)));
    assert!(
        matches!(events.claim(&1).await.unwrap(), Claimed::New(_)),
        "it took effect both times"
    );
    assert_eq!(failing.asked(), 2);
}

#[tokio::test]
async fn an_open_policy_lets_events_pass_and_counts_them() {
    let failing = Failing::new(u32::MAX, EventsErrorKind::Unreachable);
    let open = config().failure_policy(FailurePolicy::Open).retries(0);
    let events = on(failing, open);
    assert!(!events.is_duplicate(&1).await.unwrap());
    assert_eq!(events.filter(&[1, 2]).await.unwrap(), [&1, &2]);
    assert!(matches!(events.claim(&1).await.unwrap(), Claimed::New(_)));
    assert_eq!(events.stats().failed_open, 4);

    let handled = DedupLayer::new(events.clone())
        .layer(service_fn(async |number: u64| Ok::<_, BoxError>(number)))
        .oneshot(7)
        .await
        .unwrap();
    assert_eq!(handled, Outcome::Handled(7), "it was handled, and could not be confirmed");
    assert_eq!(events.stats().unconfirmed, 1);
}

#[tokio::test]
async fn an_open_policy_is_no_excuse_for_a_wrong_configuration() {
    let failing = Failing::new(u32::MAX, EventsErrorKind::Refused);
    let events = on(failing, config().failure_policy(FailurePolicy::Open).retries(0));
    assert_eq!(events.check_and_mark(&1).await.unwrap_err().kind(), EventsErrorKind::Refused);
}

#[tokio::test]
async fn the_breaker_spares_a_server_that_is_down() {
    let failing = Failing::new(4, EventsErrorKind::Unreachable);
    let pause = Duration::from_millis(40);
    let events = on(failing.clone(), config().retries(0).breaker_failures(3).breaker_pause(pause));
    for _ in 0..3 {
        let error = events.is_duplicate(&1).await.unwrap_err();
        assert_eq!(error.kind(), EventsErrorKind::Unreachable);
    }
    assert!(events.stats().circuit_open);
    let error = events.is_duplicate(&1).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (EventsErrorKind::CircuitOpen, 0));
    assert_eq!(failing.asked(), 3);

    tokio::time::sleep(pause).await;
    assert!(events.is_duplicate(&1).await.is_err(), "the one that is let through fails, too");
    assert_eq!(failing.asked(), 4);
    tokio::time::sleep(pause).await;
    assert!(!events.is_duplicate(&1).await.unwrap());
    assert!(!events.stats().circuit_open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_at_the_same_time_are_put_together() {
    let failing = Failing::new(0, EventsErrorKind::Busy);
    let (events, driver) = on(failing.clone(), config()).coalesced();
    // Whoever waits before the driver runs is in its first request.
    let waiting: Vec<_> = (0..200_u64)
        .map(|number| {
            let events = events.clone();
            tokio::spawn(async move { events.check_and_mark(&(number % 150)).await.unwrap() })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let driver = tokio::spawn(driver);
    let mut new = 0;
    for answer in waiting {
        new += u32::from(answer.await.unwrap());
    }
    assert_eq!(new, 150);
    assert_eq!(failing.asked(), 1, "one request for two hundred calls");

    let claim = claimed(events.claim(&1000).await.unwrap());
    assert!(matches!(events.claim(&1000).await.unwrap(), Claimed::InFlight));
    events.confirm(&claim).await.unwrap();
    assert!(events.is_duplicate(&1000).await.unwrap());
    events.mark_seen_with_ttl(&1001, Duration::from_secs(5)).await.unwrap();
    assert!(events.is_duplicate(&1001).await.unwrap());

    driver.abort();
    let _ = driver.await;
    assert!(events.check_and_mark(&2000).await.unwrap(), "without the driver it asks by itself");
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_claims_nothing() {
    let (events, driver) = numbers(config()).coalesced();
    let short = Duration::from_millis(10);
    assert!(tokio::time::timeout(short, events.claim(&1)).await.is_err(), "no driver yet");
    tokio::spawn(driver);
    assert!(matches!(events.claim(&1).await.unwrap(), Claimed::New(_)));
}

#[tokio::test]
async fn nor_does_one_that_was_given_up_while_others_were_answered() {
    let retries = Retries::new(1).base(Duration::from_millis(100));
    let failing = Failing::new(1, EventsErrorKind::Busy);
    let (events, driver) = on(failing, config().retries(retries)).coalesced();
    tokio::spawn(driver);
    let claim = tokio::time::timeout(Duration::from_millis(20), events.claim(&2));
    let (looked, claim) = tokio::join!(events.is_duplicate(&1), claim);
    assert!(!looked.unwrap() && claim.is_err());
    assert!(matches!(events.claim(&2).await.unwrap(), Claimed::New(_)));
}

#[tokio::test]
async fn a_driver_that_was_dropped_is_an_outage() {
    for (policy, passes) in [(FailurePolicy::Closed, false), (FailurePolicy::Open, true)] {
        let (events, driver) = numbers(config().failure_policy(policy)).coalesced();
        let waiting = tokio::spawn({
            let events = events.clone();
            async move { events.check_and_mark(&1).await }
        });
        tokio::task::yield_now().await;
        drop(driver);
        let answer = waiting.await.unwrap();
        assert_eq!(answer.is_ok(), passes, "{answer:?}");
        assert_eq!(events.stats().failed_open, u64::from(passes));
        assert!(events.check_and_mark(&2).await.unwrap(), "later ones ask by themselves");
    }
}

#[tokio::test]
async fn a_failure_is_the_answer_to_all_that_were_put_together() {
    let failing = Failing::new(1, EventsErrorKind::Full);
    let (events, driver) = on(failing, config()).coalesced();
    let (one, other) = (events.claim(&1), events.claim(&2));
    let answers = async { tokio::join!(one, other) };
    let (answers, ()) = tokio::join!(answers, async {
        tokio::spawn(driver);
    });
    assert_eq!(answers.0.unwrap_err().kind(), EventsErrorKind::Full);
    assert_eq!(answers.1.unwrap_err().kind(), EventsErrorKind::Full);
}

#[tokio::test]
async fn a_full_memory_refuses_and_forgets_nothing() {
    let events = on(MemoryBackend::new().capacity(2), config());
    events.batch_mark_seen(&[1, 2]).await.unwrap();
    assert_eq!(events.check_and_mark(&3).await.unwrap_err().kind(), EventsErrorKind::Full);
    assert_eq!(events.batch_check_duplicates(&[1, 2, 3]).await.unwrap(), [true, true, false]);
}

#[tokio::test]
async fn statistics_say_what_happened() {
    let events = numbers(config());
    events.batch_check_and_mark(&[1, 2, 1]).await.unwrap();
    let _claim = claimed(events.claim(&3).await.unwrap());
    events.claim(&3).await.unwrap();
    let stats = events.stats();
    assert_eq!((stats.events_checked, stats.duplicates_found), (5, 1));
    assert_eq!((stats.new_events, stats.in_flight), (3, 1));
    assert_eq!((stats.batch_operations, stats.total_operations()), (1, 3));
    assert!((stats.duplicate_rate() - 0.2).abs() < 1e-9);
    assert!(stats.avg_latency_us > 0.0);
    assert!(events.health_check().await.unwrap().is_healthy());
}

/// A memory whose first answers are errors. With `OutcomeUnknown` it does what it was asked first.
#[derive(Debug, Clone)]
struct Failing(Arc<(MemoryBackend, AtomicU32, u32, EventsErrorKind)>);

impl Failing {
    fn new(times: u32, kind: EventsErrorKind) -> Self {
        Self(Arc::new((MemoryBackend::new(), AtomicU32::new(0), times, kind)))
    }

    fn asked(&self) -> u32 {
        self.0.1.load(Ordering::SeqCst)
    }

    fn answer<'a, R: Send + 'a>(
        &'a self,
        ask: impl Fn() -> BoxFuture<'a, Result<R, BackendError>> + Send + 'a,
    ) -> BoxFuture<'a, Result<R, BackendError>> {
        let (_, asked, times, kind) = &*self.0;
        Box::pin(async move {
            if asked.fetch_add(1, Ordering::SeqCst) >= *times {
                return ask().await;
            }
            if *kind == EventsErrorKind::OutcomeUnknown {
                ask().await?;
            }
            Err(BackendError::new(*kind, "as the test wants it"))
        })
    }
}

impl EventBackend for Failing {
    fn name(&self) -> &'static str {
        "failing"
    }

    fn look<'a>(&'a self, ids: &'a EventIds) -> BoxFuture<'a, Result<Vec<bool>, BackendError>> {
        self.answer(move || self.0.0.look(ids))
    }

    fn mark<'a>(
        &'a self,
        ids: &'a EventIds,
        window: &'a EventWindow,
    ) -> BoxFuture<'a, Result<Vec<bool>, BackendError>> {
        self.answer(move || self.0.0.mark(ids, window))
    }

    fn claim<'a>(
        &'a self,
        ids: &'a EventIds,
        tokens: &'a [ClaimToken],
        lease: Duration,
    ) -> BoxFuture<'a, Result<Vec<ClaimAnswer>, BackendError>> {
        self.answer(move || self.0.0.claim(ids, tokens, lease))
    }

    fn confirm<'a>(
        &'a self,
        ids: &'a EventIds,
        tokens: &'a [ClaimToken],
        window: &'a EventWindow,
    ) -> BoxFuture<'a, Result<Vec<bool>, BackendError>> {
        self.answer(move || self.0.0.confirm(ids, tokens, window))
    }

    fn release<'a>(
        &'a self,
        ids: &'a EventIds,
        tokens: &'a [ClaimToken],
    ) -> BoxFuture<'a, Result<Vec<bool>, BackendError>> {
        self.answer(move || self.0.0.release(ids, tokens))
    }

    fn clear(&self) -> BoxFuture<'_, Result<(), BackendError>> {
        self.0.0.clear()
    }

    fn health(&self) -> BoxFuture<'_, Result<Health, BackendError>> {
        self.0.0.health()
    }

    fn traffic(&self) -> Traffic {
        self.0.0.traffic()
    }
}

fn config() -> DeduplicationConfigBuilder {
    DeduplicationConfig::builder()
}

fn numbers(config: DeduplicationConfigBuilder) -> EventDeduplicator<u64> {
    on(MemoryBackend::new(), config)
}

fn on(
    backend: impl EventBackend + 'static,
    config: DeduplicationConfigBuilder,
) -> EventDeduplicator<u64> {
    let by_number = EventIdExtractor::hash(|number: &u64| *number);
    EventDeduplicator::with_backend(config.build().unwrap(), by_number, backend)
}

fn quick(max: u32) -> Retries {
    Retries::new(max).base(Duration::from_millis(1)).cap(Duration::from_millis(2))
}

fn claimed(claimed: Claimed) -> tower_inbox::events::Claim {
    claimed.claim().expect("nobody else has it")
}

fn all_of(error: &EventsError) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        text += &format!(": {error}");
        below = error.source();
    }
    text
}
