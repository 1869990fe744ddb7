//! What only PostgreSQL shows to those who look into an inbox: transactions at work, other isolation
//! levels, and claims that are in buckets.
#![cfg(all(feature = "postgres", feature = "testing"))]

use std::time::Duration;

use sqlx::{PgPool, postgres::PgPoolOptions};
use tower_inbox::{
    error::StoreErrorKind,
    inbox::{
        PgBucketStore, PgStore, Window,
        store::{
            Attempts, Burial, Claim, ClaimFilter, Claimed, ConsumerId, Forgotten, InboxAdmin,
            InboxStore, Intervention, KeyState, Paging, PoisonStore, Requeued,
        },
    },
    key::InboxKey,
};

#[sqlx::test(migrations = false)]
async fn a_transaction_at_work_is_told_as_such(pool: PgPool) {
    let (store, consumer) = registered(pool).await;
    let Claimed::Won(tx) = store.claim(claim(consumer)).await.unwrap() else {
        panic!("nobody else claims");
    };
    let explained = store.explain("raw".into(), KEY).await.unwrap();
    assert_eq!(explained.state, KeyState::InTransaction);
    let forced = Intervention::new("raw", KEY, "Ann").force(true);
    assert_eq!(store.forget(forced.clone()).await.unwrap(), Forgotten::InTransaction);
    assert_eq!(store.requeue(forced).await.unwrap(), Requeued::InFlight);
    tx.rollback().await.unwrap();
    let explained = store.explain("raw".into(), KEY).await.unwrap();
    assert_eq!(explained.state, KeyState::Free);
}

#[sqlx::test(migrations = false)]
async fn another_isolation_level_changes_nothing(pool: PgPool) {
    let (_, consumer) = registered(pool.clone()).await;
    for level in ["repeatable read", "serializable"] {
        let options = (*pool.connect_options()).clone();
        let options = options.options([("default_transaction_isolation", level)]);
        let store = PgStore::new(PgPoolOptions::new().connect_lazy_with(options));
        let Claimed::Won(tx) = store.claim(claim(consumer)).await.unwrap() else {
            panic!("it is forgotten each time");
        };
        // It waits for the commit, and has to see what was committed.
        let forgetting = tokio::spawn({
            let store = store.clone();
            async move { store.forget(Intervention::new("raw", KEY, "Ann")).await.unwrap() }
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        tx.commit().await.unwrap();
        let forgotten = forgetting.await.unwrap();
        assert!(matches!(forgotten, Forgotten::Done(KeyState::Handled { .. })), "{forgotten:?}");
        store.pool().close().await;
    }
}

#[sqlx::test(migrations = false)]
async fn a_requeue_waits_for_who_looks_at_the_letter(pool: PgPool) {
    let (store, consumer) = registered(pool).await;
    let attempts = Attempts::new(1, 1);
    let burial = Burial::new(consumer, KEY, window(), attempts, "no".into(), None);
    assert!(store.bury(burial).await.unwrap());
    // Deliveries that are told of the letter hold its lock for a moment.
    let rivals: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..50 {
                    match store.claim(claim(consumer)).await.unwrap() {
                        Claimed::Won(tx) => tx.rollback().await.unwrap(),
                        Claimed::Duplicate(_) | Claimed::InFlight => {}
                    }
                }
            })
        })
        .collect();
    let requeued = store.requeue(Intervention::new("raw", KEY, "Ann")).await.unwrap();
    assert_eq!(requeued, Requeued::Done { payload: false });
    for rival in rivals {
        rival.await.unwrap();
    }
}

#[sqlx::test(migrations = false)]
async fn claims_in_buckets_are_counted_and_not_looked_into(pool: PgPool) {
    let flat = PgStore::new(pool.clone());
    flat.schema().up().await.unwrap();
    let buckets = PgBucketStore::new(pool);
    let consumer = buckets.register("raw".into(), window(), KEY).await.unwrap();
    let Claimed::Won(tx) = buckets.claim(claim(consumer)).await.unwrap() else {
        panic!("nobody else claims");
    };
    tx.commit().await.unwrap();
    let consumers = flat.consumers().await.unwrap();
    assert_eq!((&*consumers[0].name, consumers[0].live), ("raw", 1));
    for refused in [
        flat.explain("raw".into(), KEY).await.unwrap_err(),
        flat.forget(Intervention::new("raw", KEY, "Ann")).await.unwrap_err(),
        flat.claims(ClaimFilter::of("raw"), Paging::default()).await.unwrap_err(),
    ] {
        assert_eq!(refused.kind(), StoreErrorKind::Other);
        assert!(refused.to_string().contains("are in buckets"), "{refused}");
    }
}

async fn registered(pool: PgPool) -> (PgStore, ConsumerId) {
    let store = PgStore::new(pool);
    store.schema().up().await.unwrap();
    let consumer = store.register("raw".into(), window(), KEY).await.unwrap();
    (store, consumer)
}

fn claim(consumer: ConsumerId) -> Claim {
    Claim::new(consumer, KEY, window(), Duration::from_millis(50))
}

fn window() -> Window {
    Window::default()
}

const KEY: InboxKey = InboxKey::from_bytes([7; 16]);
