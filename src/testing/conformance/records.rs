//! The facts that hold for every [`RecordStore`], one function each.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use tower_layer::Layer;
use tower_service::Service;

use super::{Handler, Name, Oops, key, lease_window, registered, window};
use crate::{
    error::BoxError,
    inbox::{
        InFlight, InboxLayer, KeyReused, Leased, Received, ResponseTooLarge,
        replay::{Json, Oversized, Replay, ReplayLayer},
        store::{Deed, InboxStore, LeaseClaimed, LeaseRequest, Record, RecordStore},
    },
    testing::Harness,
};

/// Makes one test of every fact about records in
/// [`testing::conformance`](crate::testing::conformance), as [`conformance!`](crate::conformance)
/// does of the others; for a store that is a [`RecordStore`](crate::inbox::store::RecordStore), too.
#[macro_export]
macro_rules! record_conformance {
    (#[$attribute:meta] $arguments:tt => $harness:expr) => {
        $crate::conformance! { @ #[$attribute] $arguments $harness =>
            a_duplicate_gets_the_first_response
            a_response_lives_and_dies_with_its_claim
            a_leased_response_is_replayed
            a_lost_lease_keeps_no_record
            an_oversized_response_is_refused_or_forgotten
            a_reused_key_is_no_duplicate
            in_flight_comes_before_a_reused_key
            records_are_swept_with_their_claims
        }
    };
    ($harness:expr) => {
        $crate::record_conformance!(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)] () => $harness
        );
    };
}

type Replaying<H, X = crate::inbox::InTransaction> =
    ReplayLayer<<H as Harness>::Store, super::ByText, X, Json>;

/// The response of the first handling, in every process, for the window.
pub async fn a_duplicate_gets_the_first_response<H: Harness>(harness: &H)
where
    H::Store: RecordStore,
{
    let answers = |text: &'static str| {
        move |received: Received<Name, H::Connection>| async move {
            let (message, mut tx) = received.into_parts();
            H::write(&mut tx, message.0).await?;
            Ok::<_, BoxError>(text.to_owned())
        }
    };
    let layer = replaying(harness);
    let first = deliver(&layer, Name("a"), answers("receipt 1")).await.unwrap();
    assert_eq!(first, Replay::Handled("receipt 1".to_owned()));
    // Another layer, as in another process; its handler would answer something else.
    for _ in 0..2 {
        let again = deliver(&replaying(harness), Name("a"), answers("receipt 2")).await.unwrap();
        assert_eq!(again, Replay::Replayed("receipt 1".to_owned()));
    }
    assert_eq!(harness.written("a").await, 1);
    // What another stack of the consumer handled has no response.
    let plain = super::layer(harness, "billing");
    let _ = super::deliver(&plain, Name("b"), super::writes::<H>).await.unwrap();
    let again = deliver(&layer, Name("b"), answers("receipt 3")).await.unwrap();
    assert_eq!(again, Replay::Duplicate);
}

/// A rolled-back response is not replayed, and one whose window is over is not, either.
pub async fn a_response_lives_and_dies_with_its_claim<H: Harness>(harness: &H)
where
    H::Store: RecordStore,
{
    let layer = replaying(harness);
    let fails =
        |_: Received<Name, H::Connection>| async { Err::<String, BoxError>(Box::new(Oops)) };
    let answers = |text: &'static str| {
        move |_: Received<Name, H::Connection>| async move { Ok::<_, BoxError>(text.to_owned()) }
    };
    assert!(deliver(&layer, Name("a"), fails).await.unwrap_err().is::<Oops>());
    let second = deliver(&layer, Name("a"), answers("second")).await.unwrap();
    assert_eq!(second, Replay::Handled("second".to_owned()));

    harness.clock().advance(24 * 3600 + 2);
    let third = deliver(&layer, Name("a"), answers("third")).await.unwrap();
    assert_eq!(third, Replay::Handled("third".to_owned()));
    let again = deliver(&layer, Name("a"), answers("fourth")).await.unwrap();
    assert_eq!(again, Replay::Replayed("third".to_owned()));

    // A claim that was made anew by a stack that keeps nothing does not get the old response.
    harness.clock().advance(24 * 3600 + 2);
    let plain = super::layer(harness, "billing");
    let _ = super::deliver(&plain, Name("a"), super::writes::<H>).await.unwrap();
    let again = deliver(&layer, Name("a"), answers("fifth")).await.unwrap();
    assert_eq!(again, Replay::Duplicate);
}

/// In leased mode the response is kept with the completion.
pub async fn a_leased_response_is_replayed<H: Harness>(harness: &H)
where
    H::Store: RecordStore,
{
    let layer = leased(harness);
    let answers = |text: &'static str| {
        move |_: Leased<Name>| async move { Ok::<_, BoxError>(text.to_owned()) }
    };
    let first = deliver(&layer, Name("a"), answers("receipt 1")).await.unwrap();
    assert_eq!(first, Replay::Handled("receipt 1".to_owned()));
    let again = deliver(&layer, Name("a"), answers("receipt 2")).await.unwrap();
    assert_eq!(again, Replay::Replayed("receipt 1".to_owned()));
}

/// Who completes too late leaves neither a claim nor a record behind.
pub async fn a_lost_lease_keeps_no_record<H: Harness>(harness: &H)
where
    H::Store: RecordStore,
{
    let (store, consumer) = registered(harness).await;
    let request = || LeaseRequest::new(consumer, key(1), lease_window(), "a test".into());
    let LeaseClaimed::Granted(late) = store.lease(request()).await.unwrap() else {
        panic!("the message is free");
    };
    harness.clock().advance(32);
    let LeaseClaimed::Granted(second) = store.lease(request()).await.unwrap() else {
        panic!("the lease ran out");
    };
    let record = |text: &str| Record::new(None, Some(text.as_bytes().to_vec()));
    assert!(!store.complete_with(late, window(), record("late")).await.unwrap());
    assert_eq!(store.kept(consumer, key(1)).await.unwrap(), None);
    assert!(store.complete_with(second, window(), record("second")).await.unwrap());
    assert_eq!(store.kept(consumer, key(1)).await.unwrap(), Some(record("second")));
    assert!(!store.settle(late, Deed::Release).await.unwrap());
}

/// Refused means rolled back and said; forgotten means handled, and nothing to replay.
pub async fn an_oversized_response_is_refused_or_forgotten<H: Harness>(harness: &H)
where
    H::Store: RecordStore,
{
    let answers = |received: Received<Name, H::Connection>| async move {
        let (message, mut tx) = received.into_parts();
        H::write(&mut tx, message.0).await?;
        Ok::<_, BoxError>("x".repeat(20))
    };
    let refusing = replaying(harness).max_response(21);
    let error = deliver(&refusing, Name("a"), answers).await.unwrap_err();
    let error = error.downcast_ref::<ResponseTooLarge>().expect("the response is 22 bytes of JSON");
    assert_eq!((error.size, error.limit), (22, 21));
    assert_eq!(harness.written("a").await, 0);

    let fits = replaying(harness).max_response(22);
    let handled = deliver(&fits, Name("a"), answers).await.unwrap();
    assert_eq!(handled, Replay::Handled("x".repeat(20)));

    let forgetting = replaying(harness).max_response(21).oversized(Oversized::Forget);
    assert!(matches!(deliver(&forgetting, Name("b"), answers).await.unwrap(), Replay::Handled(_)));
    assert_eq!(deliver(&forgetting, Name("b"), answers).await.unwrap(), Replay::Duplicate);
    assert_eq!(harness.written("b").await, 1);

    // The effects of a leased handler stand, so its message is completed.
    let leased = leased(harness).max_response(21);
    let answers = |_: Leased<Name>| async { Ok::<_, BoxError>("x".repeat(20)) };
    assert!(matches!(deliver(&leased, Name("c"), answers).await.unwrap(), Replay::Handled(_)));
    assert_eq!(deliver(&leased, Name("c"), answers).await.unwrap(), Replay::Duplicate);
}

/// The same key with another body is an error; with the same body it is a duplicate.
pub async fn a_reused_key_is_no_duplicate<H: Harness>(harness: &H)
where
    H::Store: RecordStore,
{
    let layer = InboxLayer::new("billing", harness.store())
        .dedup_by(|_: &Name| "the key")
        .fingerprint(|name: &Name| name.0);
    let mut service = layer.layer(Handler(super::writes::<H>));
    assert!(!call(&mut service, Name("a")).await.unwrap().is_duplicate());
    assert!(call(&mut service, Name("a")).await.unwrap().is_duplicate());
    let error = call(&mut service, Name("b")).await.unwrap_err();
    assert!(error.is::<KeyReused>(), "{error}");
    assert_eq!((harness.written("a").await, harness.written("b").await), (1, 0));

    // A claim without a fingerprint is a duplicate, whatever comes under it.
    let plain = InboxLayer::new("shipping", harness.store()).dedup_by(|_: &Name| "the key");
    let mut plain_service = plain.layer(Handler(super::writes::<H>));
    assert!(!call(&mut plain_service, Name("c")).await.unwrap().is_duplicate());
    let mut service = plain.fingerprint(|name: &Name| name.0).layer(Handler(super::writes::<H>));
    assert!(call(&mut service, Name("d")).await.unwrap().is_duplicate());
}

/// Nobody knows yet whether the first message will be handled.
pub async fn in_flight_comes_before_a_reused_key<H: Harness>(harness: &H)
where
    H::Store: RecordStore,
{
    let layer = InboxLayer::new("billing", harness.store())
        .dedup_by(|_: &Name| "the key")
        .fingerprint(|name: &Name| name.0)
        .leased(Duration::from_secs(30));
    let inner = layer.clone();
    let mut outer = layer.layer(Handler(move |_: Leased<Name>| {
        let mut service = inner.layer(Handler(super::succeeds));
        async move {
            let error = call(&mut service, Name("b")).await.unwrap_err();
            assert!(error.is::<InFlight>(), "{error}");
            Ok(())
        }
    }));
    assert!(!call(&mut outer, Name("a")).await.unwrap().is_duplicate());
}

/// What is kept beside a claim goes when the claim goes, and not before.
pub async fn records_are_swept_with_their_claims<H: Harness>(harness: &H)
where
    H::Store: RecordStore,
{
    let layer = replaying(harness);
    let answers =
        |_: Received<Name, H::Connection>| async { Ok::<_, BoxError>("receipt".to_owned()) };
    let _ = deliver(&layer, Name("a"), answers).await.unwrap();
    assert_eq!(super::sweep(&harness.store(), Duration::ZERO).await, 0);
    harness.clock().advance(23 * 3600);
    let _ = deliver(&layer, Name("b"), answers).await.unwrap();
    harness.clock().advance(3602 + harness.sweeps_late().as_secs().cast_signed());
    assert_eq!(super::sweep(&harness.store(), Duration::ZERO).await, 2, "a claim and its record");
    let again = deliver(&layer, Name("b"), answers).await.unwrap();
    assert_eq!(again, Replay::Replayed("receipt".to_owned()));
}

fn replaying<H: Harness>(harness: &H) -> Replaying<H>
where
    H::Store: RecordStore,
{
    super::layer(harness, "billing").replay(Json)
}

fn leased<H: Harness>(harness: &H) -> Replaying<H, crate::inbox::InLease>
where
    H::Store: RecordStore,
{
    super::leased_layer(harness).replay(Json)
}

async fn deliver<L, F, R>(layer: &L, message: Name, handler: F) -> Result<R, BoxError>
where
    L: Layer<Answering<F>>,
    L::Service: Service<Name, Response = R, Error = BoxError>,
{
    call(&mut layer.layer(Answering(handler)), message).await
}

async fn call<S>(service: &mut S, message: Name) -> Result<S::Response, BoxError>
where
    S: Service<Name, Error = BoxError>,
{
    std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(message).await
}

/// A closure as a service that answers with a text; always ready.
#[derive(Clone)]
struct Answering<F>(F);

impl<F, R, Fut> Service<R> for Answering<F>
where
    F: FnMut(R) -> Fut,
    Fut: Future<Output = Result<String, BoxError>>,
{
    type Response = String;
    type Error = BoxError;
    type Future = Fut;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Fut {
        (self.0)(request)
    }
}
