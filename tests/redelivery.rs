//! The driver that delivers requeued letters: readiness, its end, and being dropped.
#![cfg(all(feature = "sqlite", feature = "testing"))]

use std::{convert::Infallible, task::Poll, time::Duration};

use tokio::sync::oneshot;
use tower::{Layer, Service, service_fn};
use tower_inbox::{
    BoxError, InboxLayer,
    inbox::{
        DeadLetterPolicy, Received, SqliteStore,
        redelivery::Redelivery,
        store::{InboxAdmin, Intervention, LetterFilter, Paging, RedeliveryStore, Requeued},
    },
};
use tower_test::mock::{self, Handle};

type Connection = sqlx::SqliteConnection;

#[tokio::test]
async fn a_letter_waits_until_the_service_is_ready() {
    let store = with_a_letter().await;
    let (service, mut handle) = mock::pair::<String, ()>();
    handle.allow(0);
    let mut redelivery = Redelivery::new("billing", store.clone(), service, decode);
    let mut next = Box::pin(redelivery.deliver_next());
    tokio::select! {
        _ = &mut next => panic!("the service was not ready"),
        () = tokio::time::sleep(Duration::from_millis(100)) => {}
    }
    assert!(requested(&mut handle).is_none(), "it was called all the same");
    handle.allow(1);
    let (delivered, ()) = tokio::join!(next, answer(&mut handle));
    assert!(delivered.unwrap().unwrap().result.is_ok());
    assert_eq!(letters(&store).await, 0);
}

#[tokio::test]
async fn a_service_that_is_broken_leaves_the_letter() {
    let store = with_a_letter().await;
    let (service, mut handle) = mock::pair::<String, ()>();
    handle.send_error("out of order");
    let mut redelivery = Redelivery::new("billing", store.clone(), service, decode);
    let error = redelivery.deliver_next().await.unwrap().unwrap().result.unwrap_err();
    assert_eq!(error.to_string(), "out of order");
    assert!(redelivery.deliver_next().await.unwrap().is_none(), "once in a pass");
    assert_eq!(letters(&store).await, 1);
}

#[tokio::test]
async fn a_shutdown_lets_the_delivery_under_way_end() {
    let store = with_a_letter().await;
    let (service, mut handle) = mock::pair::<String, ()>();
    let (stop, stopped) = oneshot::channel::<()>();
    let redelivery = Redelivery::new("billing", store.clone(), service, decode);
    let run = tokio::spawn(redelivery.run(async { stopped.await.unwrap_or(()) }));
    let (message, response) = handle.next_request().await.unwrap();
    assert_eq!(message, "a");
    drop(stop);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!run.is_finished());
    response.send_response(());
    run.await.unwrap();
    assert_eq!(letters(&store).await, 0);
}

#[tokio::test]
async fn a_delivery_that_is_dropped_leaves_the_letter() {
    let store = with_a_letter().await;
    let (service, mut handle) = mock::pair::<String, ()>();
    let hold = Duration::ZERO;
    let mut redelivery = Redelivery::new("billing", store.clone(), service, decode).hold(hold);
    {
        let mut next = Box::pin(redelivery.deliver_next());
        tokio::select! {
            _ = &mut next => panic!("nobody answered"),
            request = handle.next_request() => drop(request),
        }
    }
    let again = store.take_letter("billing".into(), None, hold).await.unwrap();
    assert_eq!(again.unwrap().payload, b"a");
    assert_eq!(letters(&store).await, 1);
}

#[tokio::test]
async fn a_letter_without_a_payload_is_left_to_its_sender() {
    let store = SqliteStore::in_memory().await.unwrap();
    store.schema().up().await.unwrap();
    die(&store, false).await;
    let (service, mut handle) = mock::pair::<String, ()>();
    let mut redelivery = Redelivery::new("billing", store.clone(), service, decode);
    assert!(redelivery.deliver_next().await.unwrap().is_none());
    assert!(requested(&mut handle).is_none());
    assert_eq!(letters(&store).await, 1);
}

/// A store with one letter that was requeued.
async fn with_a_letter() -> SqliteStore {
    let store = SqliteStore::in_memory().await.unwrap();
    store.schema().up().await.unwrap();
    die(&store, true).await;
    store
}

/// Lets a message die at its first attempt, and requeues it.
async fn die(store: &SqliteStore, payload: bool) {
    let layer = InboxLayer::new("billing", store.clone())
        .dedup_by(|message: &String| message.clone())
        .dead_letters(DeadLetterPolicy::after(1));
    let fails = service_fn(|_: Received<String, Connection>| async {
        Err::<(), BoxError>("the card was declined".into())
    });
    if payload {
        let layer = layer.payload(|message: &String| message.clone().into_bytes());
        layer.layer(fails).call("a".into()).await.unwrap_err();
    } else {
        layer.layer(fails).call("a".into()).await.unwrap_err();
    }
    let letters = store.letters(LetterFilter::default(), Paging::default()).await.unwrap();
    let by_hand = Intervention::new("billing", letters.items[0].key, "a test");
    assert_eq!(store.requeue(by_hand).await.unwrap(), Requeued::Done { payload });
}

fn decode(payload: Vec<u8>) -> Result<String, Infallible> {
    Ok(String::from_utf8(payload).expect("it was a text"))
}

async fn letters(store: &SqliteStore) -> usize {
    store.letters(LetterFilter::default(), Paging::default()).await.unwrap().items.len()
}

async fn answer(handle: &mut Handle<String, ()>) {
    let (message, response) = handle.next_request().await.unwrap();
    assert_eq!(message, "a");
    response.send_response(());
}

/// The request that is there by now, if there is one.
fn requested(handle: &mut Handle<String, ()>) -> Option<String> {
    match handle.poll_request() {
        Poll::Ready(Some((message, _))) => Some(message),
        _ => None,
    }
}
