//! The layer as a piece of tower: readiness, the order of calls, dropped futures.
#![cfg(all(feature = "sqlite", feature = "testing"))]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use sqlx::SqliteConnection;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_inbox::{
    BoxError, Inbox, InboxLayer, Outcome,
    inbox::{InFlight, KeyAbsent, Leased, Received, SqliteStore},
};
use tower_test::mock;

#[tokio::test]
async fn readiness_is_the_inner_services() {
    let store = store().await;
    let layer = InboxLayer::new("billing", store).dedup_by(|id: &u64| *id);
    type Mock = mock::Mock<Received<u64, SqliteConnection>, &'static str>;
    let (mut service, mut handle) = mock::spawn_with(move |inner: Mock| layer.layer(inner));

    handle.allow(0);
    assert!(service.poll_ready().is_pending());
    handle.allow(1);
    assert!(service.poll_ready().is_ready());

    let response = tokio::spawn(service.call(7));
    let (received, reply) = handle.next_request().await.unwrap();
    assert_eq!(received.message, 7);
    drop(received);
    reply.send_response("booked");
    assert_eq!(response.await.unwrap().unwrap(), Outcome::Handled("booked"));

    // The clone that took its place has no readiness of its own yet.
    handle.allow(0);
    assert!(service.poll_ready().is_pending());
    handle.allow(1);
    assert!(service.poll_ready().is_ready());
    assert_eq!(service.call(7).await.unwrap(), Outcome::Duplicate);
}

#[tokio::test]
async fn the_inner_service_is_not_called_for_a_duplicate() {
    let (mut service, calls) = counting(store().await);
    for expected in [Outcome::Handled(1), Outcome::Duplicate, Outcome::Duplicate] {
        assert_eq!(service.ready().await.unwrap().call(7).await.unwrap(), expected);
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_inner_error_passes_through_untouched() {
    #[derive(Debug, PartialEq)]
    struct CardDeclined;
    impl std::fmt::Display for CardDeclined {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("card declined")
        }
    }
    impl std::error::Error for CardDeclined {}

    let mut service = ServiceBuilder::new()
        .layer(InboxLayer::new("billing", store().await).dedup_by(|id: &u64| *id))
        .service_fn(async |_: Received<u64, SqliteConnection>| Err::<(), _>(CardDeclined));
    let error = service.ready().await.unwrap().call(7).await.unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&CardDeclined));
}

#[tokio::test]
async fn an_unready_inner_service_fails_before_anything_is_claimed() {
    #[derive(Debug, Clone)]
    struct Broken;
    impl<R> Service<R> for Broken {
        type Response = ();
        type Error = BoxError;
        type Future = std::future::Ready<Result<(), BoxError>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Err("out of order".into()))
        }
        fn call(&mut self, _: R) -> Self::Future {
            unreachable!("it was never ready")
        }
    }
    let store = store().await;
    let layer = InboxLayer::new("billing", store.clone()).dedup_by(|id: &u64| *id);
    let error = layer.layer(Broken).ready().await.unwrap_err().to_string();
    assert_eq!(error, "out of order");
    let claims: i64 = sqlx::query_scalar("select count(*) from tower_inbox_inbox")
        .fetch_one(store.pool())
        .await
        .unwrap();
    assert_eq!(claims, 0);
}

#[tokio::test]
async fn a_stack_of_layers_composes() {
    // Timeout and load limit outside, a layer that changes the message inside.
    let store = store().await;
    let service = ServiceBuilder::new()
        .concurrency_limit(4)
        .timeout(Duration::from_secs(5))
        .layer(InboxLayer::new("billing", store).dedup_by(|id: &u64| *id))
        .map_request(|received: Received<u64, SqliteConnection>| received.map(|id| id * 2))
        .service_fn(async |received: Received<u64, SqliteConnection>| {
            Ok::<_, BoxError>(received.message)
        });
    assert_eq!(service.clone().oneshot(21).await.unwrap(), Outcome::Handled(42));
    assert_eq!(service.oneshot(21).await.unwrap(), Outcome::Duplicate);
}

#[tokio::test]
async fn a_timeout_around_a_slow_handler_leaves_no_trace() {
    let store = store().await;
    let slow = Arc::new(AtomicUsize::new(0));
    let service = ServiceBuilder::new()
        .timeout(Duration::from_millis(100))
        .layer(InboxLayer::new("billing", store.clone()).dedup_by(|id: &u64| *id))
        .service_fn({
            let slow = Arc::clone(&slow);
            move |mut received: Received<u64, SqliteConnection>| {
                let first = slow.fetch_add(1, Ordering::SeqCst) == 0;
                async move {
                    sqlx::query("insert into effect (name) values ('a')")
                        .execute(&mut *received.tx)
                        .await?;
                    if first {
                        std::future::pending::<()>().await;
                    }
                    Ok::<_, BoxError>(())
                }
            }
        });
    let error = service.clone().oneshot(7).await.unwrap_err();
    assert!(error.is::<tower::timeout::error::Elapsed>(), "{error}");
    assert_eq!(service.oneshot(7).await.unwrap(), Outcome::Handled(()));
    assert_eq!(effects(&store).await, 1);
}

#[tokio::test]
async fn a_panic_in_the_handler_leaves_no_trace() {
    let store = store().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let service =
        InboxLayer::new("billing", store.clone()).dedup_by(|id: &u64| *id).layer(service_fn({
            let calls = Arc::clone(&calls);
            move |mut received: Received<u64, SqliteConnection>| {
                let first = calls.fetch_add(1, Ordering::SeqCst) == 0;
                async move {
                    sqlx::query("insert into effect (name) values ('a')")
                        .execute(&mut *received.tx)
                        .await?;
                    assert!(!first, "the handler has a bug");
                    Ok::<_, BoxError>(())
                }
            }
        }));
    let panicked = tokio::spawn(service.clone().oneshot(7)).await.unwrap_err();
    assert!(panicked.is_panic());
    assert_eq!(service.oneshot(7).await.unwrap(), Outcome::Handled(()));
    assert_eq!(effects(&store).await, 1);
}

/// Polls a delivery n times and drops it, for every n until it is done: whatever is left behind, the
/// next delivery decides rightly and the effect is there once.
#[tokio::test]
async fn a_future_dropped_at_each_await_leaves_nothing_doubled_or_lost() {
    let store = store().await;
    let service = InboxLayer::new("billing", store.clone()).dedup_by(|id: &u64| *id).layer(
        service_fn(async |mut received: Received<u64, SqliteConnection>| {
            for _ in 0..2 {
                tokio::task::yield_now().await;
                sqlx::query("insert into effect (name) values (?)")
                    .bind(received.message.cast_signed())
                    .execute(&mut *received.tx)
                    .await?;
            }
            Ok::<_, BoxError>(())
        }),
    );
    let mut dropped = 0;
    for polls in 0.. {
        let mut delivery = Box::pin(service.clone().oneshot(polls));
        let done = poll_times(&mut delivery, polls).await;
        drop(delivery);
        dropped += u64::from(!done);
        // `Err` would be a connection left unusable for others.
        let _ = service.clone().oneshot(polls).await.unwrap();
        let effects: i64 = sqlx::query_scalar("select count(*) from effect where name = ?")
            .bind(polls.cast_signed())
            .fetch_one(store.pool())
            .await
            .unwrap();
        assert_eq!(effects, 2, "dropped after {polls} polls");
        if done {
            break;
        }
    }
    assert!(dropped >= 3, "only {dropped} places to be dropped at");
}

#[tokio::test]
async fn a_lease_outlives_a_dropped_future_and_ends() {
    let clock = tower_inbox::testing::Clock::at_unix_millis(1_780_000_000_000);
    let store = store().await.with_clock(clock.clone());
    let service = InboxLayer::new("mailing", store)
        .leased(Duration::from_secs(30))
        .dedup_by(|id: &u64| *id)
        .layer(service_fn(async |leased: Leased<u64>| {
            let lease = leased.lease.expect("the message has a key");
            if lease.attempt() == 1 {
                std::future::pending::<()>().await;
            }
            Ok::<_, BoxError>(lease.attempt())
        }));
    let mut delivery = Box::pin(service.clone().oneshot(7));
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut delivery).await.is_err());
    drop(delivery);
    let error = service.clone().oneshot(7).await.unwrap_err();
    assert!(error.is::<InFlight>(), "{error}");
    clock.advance(32);
    assert_eq!(service.oneshot(7).await.unwrap(), Outcome::Handled(2));
}

#[tokio::test]
async fn the_key_comes_from_derive_closure_or_encoder_alike() {
    use tower_inbox::key::{Dedup, KeyEncoder};

    #[derive(Clone)]
    struct Order {
        id: u64,
        email: String,
    }
    impl Dedup for Order {
        fn kind(&self) -> &str {
            "Order"
        }
        fn encode_fields(&self, encoder: &mut KeyEncoder) {
            encoder.field(&self.id).field(&self.email);
        }
    }
    let store = store().await;
    let order = Order { id: 7, email: "ada@example.com".into() };
    let handler = service_fn(async |_: Received<Order, SqliteConnection>| Ok::<_, BoxError>(()));
    let layer = || InboxLayer::new("billing", store.clone());
    let derived = layer().layer(handler);
    let closure = layer()
        .dedup_by(|order: &Order| (order.id, order.email.clone()))
        .kind("Order")
        .layer(handler);
    let encoder = layer()
        .dedup_with(|order: &Order, key| {
            key.field(&order.id).field(&order.email);
        })
        .kind("Order")
        .layer(handler);
    let other_kind =
        layer().dedup_by(|order: &Order| (order.id, order.email.clone())).layer(handler);
    assert_eq!(derived.oneshot(order.clone()).await.unwrap(), Outcome::Handled(()));
    assert_eq!(closure.oneshot(order.clone()).await.unwrap(), Outcome::Duplicate);
    assert_eq!(encoder.oneshot(order.clone()).await.unwrap(), Outcome::Duplicate);
    assert_eq!(other_kind.oneshot(order).await.unwrap(), Outcome::Handled(()));
}

#[tokio::test]
async fn a_message_of_nothing_but_none_has_no_key() {
    let layer = InboxLayer::new("billing", store().await)
        .dedup_by(|message: &(Option<u64>, Option<String>)| message.clone());
    let handler =
        service_fn(async |_: Received<(Option<u64>, Option<String>), SqliteConnection>| {
            Ok::<_, BoxError>(())
        });
    let service = layer.layer(handler);
    let error = service.clone().oneshot((None, None)).await.unwrap_err();
    assert!(error.is::<KeyAbsent>(), "{error}");
    assert_eq!(service.oneshot((Some(7), None)).await.unwrap(), Outcome::Handled(()));
}

#[tokio::test]
async fn a_delivery_that_finds_no_tables_is_decided_as_failed() {
    use std::sync::Mutex;

    use tower_inbox::hook::{BoxFuture, CommitHook, Decision, Delivery};

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

    let heard = Arc::new(Mutex::new(Vec::new()));
    let service = InboxLayer::new("billing", SqliteStore::in_memory().await.unwrap())
        .dedup_by(|id: &u64| *id)
        .hook(Arc::new(Hears(Arc::clone(&heard))))
        .layer(service_fn(async |_: Received<u64, SqliteConnection>| Ok::<_, BoxError>(())));
    service.oneshot(7).await.unwrap_err();
    assert_eq!(*heard.lock().unwrap(), [Decision::Failed]);
}

#[test]
#[should_panic(expected = "a window of 0ns is not between 1 second and 10 years")]
fn a_window_of_zero_is_refused_where_it_is_set() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = runtime.block_on(SqliteStore::in_memory()).unwrap();
    let _ = InboxLayer::new("billing", store).window(Duration::ZERO);
}

#[test]
fn services_and_futures_are_send() {
    fn check<T: Send>() {}
    fn check_sync<T: Send + Sync + Clone>() {}
    #[derive(Clone)]
    struct Handler;
    impl Service<Received<u64, SqliteConnection>> for Handler {
        type Response = ();
        type Error = BoxError;
        type Future = std::future::Ready<Result<(), BoxError>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: Received<u64, SqliteConnection>) -> Self::Future {
            std::future::ready(Ok(()))
        }
    }
    check_sync::<Inbox<Handler, SqliteStore>>();
    check_sync::<InboxLayer<SqliteStore>>();
    check::<tower_inbox::inbox::ResponseFuture<Handler, Received<u64, SqliteConnection>>>();
}

async fn store() -> SqliteStore {
    let store = SqliteStore::in_memory().await.unwrap();
    store.schema().up().await.unwrap();
    sqlx::query("create table effect (name)").execute(store.pool()).await.unwrap();
    store
}

async fn effects(store: &SqliteStore) -> i64 {
    sqlx::query_scalar("select count(*) from effect").fetch_one(store.pool()).await.unwrap()
}

/// A service that answers with the number of times it was called.
fn counting(
    store: SqliteStore,
) -> (impl Service<u64, Response = Outcome<usize>, Error = BoxError>, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let service = InboxLayer::new("billing", store).dedup_by(|id: &u64| *id).layer(service_fn(
        move |_: Received<u64, SqliteConnection>| {
            let call = counted.fetch_add(1, Ordering::SeqCst) + 1;
            async move { Ok::<_, BoxError>(call) }
        },
    ));
    (service, calls)
}

/// Polls up to a number of times, and says whether the future finished.
async fn poll_times<F: Future + Unpin>(future: &mut F, polls: u64) -> bool {
    let mut left = polls;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        match std::pin::Pin::new(&mut *future).poll(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if left == 0 => Poll::Ready(false),
            // The waker was passed on: the next poll comes when there is progress to be made.
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
