//! What PostgreSQL says of a message that is handled or leased is the same in each way to ask.
#![cfg(all(feature = "sqlite", feature = "postgres", feature = "testing"))]

mod support;

use std::time::Duration;

use sqlx::PgPool;
use support::harness::{Buckets, Postgres};
use tower_inbox::{
    inbox::{
        Window,
        store::{
            BatchClaim, BatchStore, Claim, Claimed, ConsumerId, Earlier, InboxStore, KeyClaimed,
            LeaseClaimed, LeaseRequest,
        },
    },
    key::InboxKey,
    testing::Harness,
};

#[sqlx::test(migrations = false)]
async fn ages_are_the_same_however_one_asks(pool: PgPool) {
    ages(&Postgres::start(pool.clone()).await, &pool).await;
}

#[sqlx::test(migrations = false)]
async fn ages_in_buckets_are_the_same_however_one_asks(pool: PgPool) {
    ages(&Buckets::with_places(pool.clone()).await, &pool).await;
}

#[sqlx::test(migrations = false)]
async fn a_lease_is_in_flight_however_one_asks(pool: PgPool) {
    leased(&Postgres::start(pool).await).await;
}

#[sqlx::test(migrations = false)]
async fn a_lease_beside_buckets_is_in_flight_however_one_asks(pool: PgPool) {
    leased(&Buckets::with_places(pool).await).await;
}

async fn ages<H: Harness>(harness: &H, pool: &PgPool)
where
    H::Store: BatchStore,
{
    let store = harness.store();
    let consumer = store.register("billing".into(), Window::default(), key(0)).await.unwrap();
    let Claimed::Won(tx) = store.claim(claim(consumer)).await.unwrap() else { panic!("it is new") };
    // It is told apart from what is being handled before anybody waits for it.
    let Claimed::InFlight = store.claim(claim(consumer)).await.unwrap() else {
        panic!("it is held")
    };
    tx.commit().await.unwrap();
    harness.clock().advance(100);
    let [known, ..] = asked(&store, consumer).await;
    let seconds = known.age.expect("its age is known").as_secs();
    // An expiry is rounded up.
    assert!((99..=100).contains(&seconds), "{seconds}");
    // More often than a session plans a statement anew.
    for _ in 0..8 {
        assert_eq!(asked(&store, consumer).await, [known; 5]);
    }

    sqlx::query("update tower_inbox.consumer set window_s = 60").execute(pool).await.unwrap();
    assert_eq!(asked(&store, consumer).await, [Earlier::unknown(); 5]);
}

/// The answers of a claim, of a batch, of a lease, of a look at one message and of one at two.
async fn asked<St: BatchStore>(store: &St, consumer: ConsumerId) -> [Earlier; 5] {
    let Claimed::Duplicate(claimed) = store.claim(claim(consumer)).await.unwrap() else {
        panic!("it is handled")
    };
    let batch = store.claim_batch(batch(consumer)).await.unwrap();
    let [KeyClaimed::Duplicate(batched)] = batch.answers[..] else { panic!("it is handled") };
    let LeaseClaimed::Duplicate(leased) = store.lease(lease(consumer)).await.unwrap() else {
        panic!("it is handled")
    };
    let [Some(one)] = store.handled(consumer, vec![key(1)]).await.unwrap()[..] else {
        panic!("it is handled")
    };
    let [None, Some(among)] = store.handled(consumer, vec![key(2), key(1)]).await.unwrap()[..]
    else {
        panic!("it is handled")
    };
    [claimed, batched, leased, one, among]
}

async fn leased<H: Harness>(harness: &H)
where
    H::Store: BatchStore,
{
    let store = harness.store();
    let consumer = store.register("billing".into(), Window::default(), key(0)).await.unwrap();
    let granted = store.lease(lease(consumer)).await.unwrap();
    assert!(matches!(granted, LeaseClaimed::Granted(_)), "{granted:?}");
    for _ in 0..8 {
        let claimed = store.claim(claim(consumer)).await.unwrap();
        assert!(matches!(claimed, Claimed::InFlight), "{claimed:?}");
        let batch = store.claim_batch(batch(consumer)).await.unwrap();
        assert_eq!(batch.answers, [KeyClaimed::InFlight]);
        assert_eq!(store.lease(lease(consumer)).await.unwrap(), LeaseClaimed::InFlight);
        assert_eq!(store.handled(consumer, vec![key(1)]).await.unwrap(), [None]);
        assert_eq!(store.handled(consumer, vec![key(2), key(1)]).await.unwrap(), [None, None]);
    }
}

fn claim(consumer: ConsumerId) -> Claim {
    Claim::new(consumer, key(1), Window::default(), Duration::ZERO)
}

fn batch(consumer: ConsumerId) -> BatchClaim {
    BatchClaim::new(consumer, vec![key(1)], Window::default(), Duration::ZERO)
}

fn lease(consumer: ConsumerId) -> LeaseRequest {
    LeaseRequest::new(consumer, key(1), Window::default(), "someone".into())
}

fn key(number: u8) -> InboxKey {
    InboxKey::from_bytes([number; 16])
}
