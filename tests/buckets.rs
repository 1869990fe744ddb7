//! Claims in tables that take turns: a message takes effect once whatever the tables do meanwhile, and
//! what expired goes a table at a time.
//!
//! A tenth of the deliveries and rounds by default, all with `TOWER_INBOX_LONG=1`.
#![cfg(all(feature = "sqlite", feature = "postgres", feature = "testing"))]

mod support;

use std::{
    env,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{
    AssertSqlSafe, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use support::{harness::NOW, random::Random};
use tower_inbox::{
    error::{StoreError, StoreErrorKind},
    inbox::{
        PgBucketStore, PgStore, Window,
        store::{
            BatchClaim, BatchStore, Claim, Claimed, ConsumerId, Deed, InboxStore, KeyClaimed,
            LeaseClaimed, LeaseRequest, SweepStore,
        },
    },
    key::InboxKey,
    testing::Clock,
};
use tower_inbox_servers::PostgresServer;

/// Twelve workers, handlers of up to 20 ms, each message delivered three times at about the same
/// time, and tables that change every forty deliveries.
#[sqlx::test(migrations = false)]
async fn a_message_takes_effect_once_while_tables_take_turns(pool: PgPool) {
    let store = roll_over_store(&with_options(&pool, [])).await;
    let seen = roll_over(store, messages(1000)).await;
    assert_eq!((seen.lost, seen.twice), (0, 0), "{seen:?}");
    // On a busy machine the sweeper is late, and some claims go to table 0; enough do not.
    assert!(seen.places >= 75 && seen.placed > 250, "{seen:?}");
}

/// The same with snapshots that are older than the locks, which is what the store refuses. It shows
/// that the test above can fail, and what the order of lock and snapshot is worth.
#[sqlx::test(migrations = false)]
async fn with_a_snapshot_from_before_the_lock_messages_take_effect_twice(pool: PgPool) {
    let level = [("default_transaction_isolation", "repeatable read")];
    let store = roll_over_store(&with_options(&pool, level)).await;
    let allow = "create or replace function tower_inbox.bucket_level() returns boolean
                 language sql as 'select true'";
    sqlx::raw_sql(allow).execute(&pool).await.unwrap();
    let seen = roll_over(store, 1000).await;
    assert!(seen.twice > 0, "{seen:?}");
}

/// Who waits for a message while the tables change sees what was committed meanwhile.
#[sqlx::test(migrations = false)]
async fn a_claim_that_waits_over_a_change_of_tables_sees_the_other(pool: PgPool) {
    let store = store_on_a_shared_clock(&pool).await;
    let consumer = register(&store, DAY).await;
    sweep(&store).await;
    for number in 0..10 {
        let first = won(&store, consumer, number, DAY).await;
        let second = tokio::spawn({
            let store = store.clone();
            async move { store.claim(patient(consumer, number, DAY)).await.unwrap() }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        advance(&pool, DAY / 2).await;
        sweep(&store).await;
        first.commit().await.unwrap();
        assert!(matches!(second.await.unwrap(), Claimed::Duplicate(_)), "message {number}");
        won(&store, consumer, number + 100, DAY).await.commit().await.unwrap();
        let places = [place_of(&pool, number).await, place_of(&pool, number + 100).await];
        assert_ne!(places[0], places[1], "the tables changed");
    }
}

/// A table in which everything expired is emptied, and its disk space is there at once.
#[sqlx::test(migrations = false)]
async fn expired_tables_are_emptied_whole(pool: PgPool) {
    let (store, clock) = store(&pool).await;
    let consumer = register(&store, DAY).await;
    sweep(&store).await;
    won(&store, consumer, 1, DAY).await.commit().await.unwrap();
    let bucket = place_of(&pool, 1).await;
    fill(&pool, bucket, 200_000).await;
    assert!(bytes(&pool, bucket).await > 10_000_000);

    clock.advance(DAY + DAY / 2 + 2);
    // Reckoned from the table's size.
    let removed = sweep(&store).await;
    assert!((190_000..=210_000).contains(&removed), "{removed}");
    assert_eq!(bytes(&pool, bucket).await, 0);
    won(&store, consumer, 1, DAY).await.commit().await.unwrap();
}

/// A handler from before the end of a table keeps it from being emptied; nobody else waits meanwhile.
#[sqlx::test(migrations = false)]
async fn a_long_handler_delays_the_emptying_and_nothing_else(pool: PgPool) {
    let (store, clock) = store(&pool).await;
    let consumer = register(&store, DAY).await;
    sweep(&store).await;
    won(&store, consumer, 1, DAY).await.commit().await.unwrap();
    let long = won(&store, consumer, 2, DAY).await;
    clock.advance(DAY + DAY / 2 + 2);

    let done = Arc::new(AtomicBool::new(false));
    let sweeper = tokio::spawn({
        let (store, done) = (store.clone(), Arc::clone(&done));
        async move {
            let mut removed = 0;
            while !done.load(Ordering::SeqCst) {
                removed += sweep(&store).await;
            }
            removed
        }
    });
    let began = Instant::now();
    let mut claims = 0;
    while began.elapsed() < Duration::from_secs(1) {
        let began = Instant::now();
        won(&store, consumer, 1000 + claims, DAY).await.commit().await.unwrap();
        assert!(began.elapsed() < Duration::from_millis(500), "a claim waited");
        claims += 1;
    }
    done.store(true, Ordering::SeqCst);
    assert_eq!(sweeper.await.unwrap(), 0, "still held");
    assert!(claims > 20, "{claims}");
    long.rollback().await.unwrap();
    assert_eq!(sweep(&store).await, 1);
}

/// Many processes sweep: places do not overlap, and nothing that counts goes.
#[sqlx::test(migrations = false)]
async fn sweepers_do_not_disturb_each_other(pool: PgPool) {
    let (store, clock) = store(&pool).await;
    let consumer = register(&store, DAY).await;
    for round in 0..20 {
        let sweepers: Vec<_> = (0..3)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move { sweep(&store).await })
            })
            .collect();
        won(&store, consumer, round, DAY).await.commit().await.unwrap();
        for sweeper in sweepers {
            sweeper.await.unwrap();
        }
        assert_places_are_apart(&pool).await;
        for number in (0..=round).rev().take(4) {
            let claimed = store.claim(patient(consumer, number, DAY)).await.unwrap();
            assert!(matches!(claimed, Claimed::Duplicate(_)), "message {number} in {round}");
        }
        clock.advance(DAY / 4);
    }
    let rows: i64 = scalar(&pool, "select count(*) from tower_inbox.bucket").await;
    assert!(rows <= 8, "{rows} are left");
}

/// Nobody sweeps for years: every claim is in table 0, and is recognised. Then somebody does.
#[sqlx::test(migrations = false)]
async fn without_a_sweeper_nothing_fails(pool: PgPool) {
    let (store, clock) = store(&pool).await;
    let consumer = register(&store, DAY).await;
    for number in 0..30 {
        clock.advance(30 * DAY);
        won(&store, consumer, number, DAY).await.commit().await.unwrap();
        assert_eq!(place_of(&pool, number).await, 0);
    }
    assert_eq!(sweep(&store).await, 29);
    won(&store, consumer, 100, DAY).await.commit().await.unwrap();
    assert_ne!(place_of(&pool, 100).await, 0);
    let claimed = store.claim(patient(consumer, 29, DAY)).await.unwrap();
    assert!(matches!(claimed, Claimed::Duplicate(_)), "the one in table 0");
    clock.advance(DAY + 2);
    assert_eq!(sweep(&store).await, 1);
    won(&store, consumer, 29, DAY).await.commit().await.unwrap();
    assert_ne!(place_of(&pool, 29).await, 0);
}

/// Another window means other places from then on; what was claimed before is recognised, for as
/// long as it was promised.
#[sqlx::test(migrations = false)]
async fn windows_may_change(pool: PgPool) {
    let (store, clock) = store(&pool).await;
    let mut claimed: Vec<(u64, i64)> = Vec::new();
    let mut now = 0;
    for (number, window) in (0..).zip([DAY, 30 * DAY, 2, 300 * DAY, DAY, 60, 30 * DAY, 30 * DAY]) {
        let consumer = register(&store, window).await;
        sweep(&store).await;
        won(&store, consumer, number, window).await.commit().await.unwrap();
        claimed.push((number, now + window));
        assert_places_are_apart(&pool).await;
        for (number, ends) in &claimed {
            if now <= *ends {
                let claimed = store.claim(patient(consumer, *number, window)).await.unwrap();
                assert!(matches!(claimed, Claimed::Duplicate(_)), "message {number} at {now}");
            }
        }
        clock.advance(DAY / 3);
        now += DAY / 3;
    }
    let longest: i32 =
        scalar(&pool, "select max(u - f) from tower_inbox.ring, unnest(from_s, until_s) r(f, u)")
            .await;
    assert!(i64::from(longest) >= 100 * DAY, "long windows have long places: {longest}");
}

/// A clock that was a year ahead for a moment loses what it made expire, and nothing else; sweeping
/// goes on.
#[sqlx::test(migrations = false)]
async fn a_clock_that_jumps_keeps_duplicates(pool: PgPool) {
    let (store, clock) = store(&pool).await;
    let consumer = register(&store, DAY).await;
    sweep(&store).await;
    won(&store, consumer, 1, DAY).await.commit().await.unwrap();
    clock.advance(365 * DAY);
    won(&store, consumer, 2, DAY).await.commit().await.unwrap();
    clock.advance(-365 * DAY);
    let claimed = store.claim(patient(consumer, 1, DAY)).await.unwrap();
    assert!(matches!(claimed, Claimed::Duplicate(_)), "nobody swept meanwhile");

    clock.advance(365 * DAY);
    assert_eq!(sweep(&store).await, 1);
    won(&store, consumer, 3, DAY).await.commit().await.unwrap();
    clock.advance(-365 * DAY);
    for number in [2, 3] {
        let claimed = store.claim(patient(consumer, number, DAY)).await.unwrap();
        assert!(matches!(claimed, Claimed::Duplicate(_)), "{number} ends in a year");
    }
    for number in 10..30 {
        sweep(&store).await;
        assert_places_are_apart(&pool).await;
        won(&store, consumer, number, DAY).await.commit().await.unwrap();
        let claimed = store.claim(patient(consumer, number, DAY)).await.unwrap();
        assert!(matches!(claimed, Claimed::Duplicate(_)));
        assert_ne!(place_of(&pool, number).await, 0, "there are places for now");
        clock.advance(DAY / 2);
    }
}

#[sqlx::test(migrations = false)]
async fn other_isolation_levels_are_refused(pool: PgPool) {
    for level in ["repeatable read", "serializable"] {
        let other = with_options(&pool, [("default_transaction_isolation", level)]);
        let (store, _) = store(&other).await;
        let consumer = register(&store, DAY).await;
        let refused = |error: StoreError| {
            assert_eq!(error.kind(), StoreErrorKind::Other);
            assert!(error.to_string().contains("default_transaction_isolation"), "{error}");
        };
        refused(store.claim(patient(consumer, 1, DAY)).await.unwrap_err());
        let batch = BatchClaim::new(consumer, vec![key(1)], window(DAY), Duration::ZERO);
        refused(store.claim_batch(batch).await.unwrap_err());
        let request = LeaseRequest::new(consumer, key(1), window(30), "a test".into());
        refused(store.lease(request).await.unwrap_err());
        let rows: i64 = scalar(&pool, "select count(*) from tower_inbox.bucket").await;
        assert_eq!(rows, 0);
    }
    let other = with_options(&pool, [("default_transaction_isolation", "read uncommitted")]);
    let (store, _) = store(&other).await;
    let consumer = register(&store, DAY).await;
    won(&store, consumer, 1, DAY).await.commit().await.unwrap();
}

/// From the flat table into buckets and back, while processes of the step before still run.
#[sqlx::test(migrations = false)]
async fn a_consumer_moves_into_buckets_and_back(pool: PgPool) {
    let (buckets, clock) = store(&pool).await;
    let both = buckets.clone().beside_flat(true);
    let flat = PgStore::new(pool.clone()).with_clock(clock.clone());
    let consumer = register(&flat, DAY).await;
    won(&flat, consumer, 1, DAY).await.commit().await.unwrap();
    let refusal = buckets.register("billing".into(), window(DAY), PROBE).await.unwrap_err();
    assert!(refusal.to_string().contains("beside_flat"), "{refusal}");

    assert_eq!(register(&both, DAY).await, consumer);
    sweep(&both).await;
    won(&both, consumer, 2, DAY).await.commit().await.unwrap();
    won(&flat, consumer, 3, DAY).await.commit().await.unwrap();
    both.claim_batch(BatchClaim::new(consumer, vec![key(3), key(4)], window(DAY), Duration::ZERO))
        .await
        .unwrap()
        .tx
        .unwrap()
        .commit()
        .await
        .unwrap();
    for number in 1..=4 {
        assert_duplicate(&flat, consumer, number).await;
        assert_duplicate(&both, consumer, number).await;
    }
    leases_agree(&flat, &both, consumer, 5).await;
    leases_agree(&both, &flat, consumer, 6).await;

    let refusal = buckets.register("billing".into(), window(DAY), PROBE).await.unwrap_err();
    assert!(refusal.to_string().contains("seconds more"), "{refusal}");
    clock.advance(DAY);
    won(&both, consumer, 7, DAY).await.commit().await.unwrap();
    clock.advance(1);
    assert_eq!(register(&buckets, DAY).await, consumer);
    won(&buckets, consumer, 8, DAY).await.commit().await.unwrap();
    for number in [7, 8] {
        assert_duplicate(&buckets, consumer, number).await;
        assert_duplicate(&both, consumer, number).await;
    }
    leases_agree(&both, &buckets, consumer, 9).await;
    leases_agree(&buckets, &both, consumer, 10).await;
    let refusal = flat.register("billing".into(), window(DAY), PROBE).await.unwrap_err();
    assert!(refusal.to_string().contains("PgBucketStore"), "{refusal}");

    // And back.
    assert_eq!(register(&both, DAY).await, consumer);
    clock.advance(DAY + 1);
    won(&both, consumer, 11, DAY).await.commit().await.unwrap();
    assert_eq!(register(&flat, DAY).await, consumer);
    assert_duplicate(&flat, consumer, 11).await;
}

/// A lease that ran out in both stores and was taken over in the flat one is in flight, and neither
/// free nor handled.
#[sqlx::test(migrations = false)]
async fn what_the_flat_store_took_over_is_in_flight(pool: PgPool) {
    let (buckets, clock) = store(&pool).await;
    let both = buckets.beside_flat(true);
    let flat = PgStore::new(pool.clone()).with_clock(clock.clone());
    let consumer = register(&both, DAY).await;
    let request = |number| LeaseRequest::new(consumer, key(number), window(30), "a test".into());
    let LeaseClaimed::Granted(late) = both.lease(request(1)).await.unwrap() else {
        panic!("the message is free");
    };
    clock.advance(32);
    let LeaseClaimed::Granted(grant) = flat.lease(request(1)).await.unwrap() else {
        panic!("the lease ran out");
    };
    for _ in 0..2 {
        assert_eq!(both.lease(request(1)).await.unwrap(), LeaseClaimed::InFlight);
        let claimed = both.claim(patient(consumer, 1, DAY)).await.unwrap();
        assert!(matches!(claimed, Claimed::InFlight), "{claimed:?}");
        let batch = BatchClaim::new(consumer, vec![key(1)], window(DAY), Duration::ZERO);
        let claimed = both.claim_batch(batch).await.unwrap();
        assert_eq!(claimed.answers, [KeyClaimed::InFlight]);
    }
    assert!(!both.settle(late, Deed::Complete(window(DAY))).await.unwrap());
    assert!(flat.settle(grant, Deed::Complete(window(DAY))).await.unwrap());
    assert_duplicate(&both, consumer, 1).await;
}

/// The server is shut down at once, without a checkpoint, while tables take turns.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_crashes_loses_and_doubles_nothing() {
    // Durable: what a server acknowledges without writing it, no inbox can keep.
    let mut server = PostgresServer::builder().durable(true).start().unwrap();
    let options = PgConnectOptions::from_str(&server.url("postgres")).unwrap();
    let pool = PgPoolOptions::new()
        .max_connections(12)
        .acquire_timeout(Duration::from_secs(20))
        .test_before_acquire(false)
        .connect_lazy_with(options);
    let store = roll_over_store(&pool).await;
    let work = tokio::spawn(roll_over(store, messages(300)));
    let mut crashes = 0;
    let mut random = Random(7);
    while crashes < messages(3) && !work.is_finished() {
        tokio::time::sleep(Duration::from_millis(150 + random.below(250))).await;
        server = tokio::task::spawn_blocking(move || {
            server.stop_immediate().unwrap();
            server.start_again().unwrap();
            server
        })
        .await
        .unwrap();
        crashes += 1;
    }
    let seen = work.await.unwrap();
    assert!(crashes > 0, "the workers were done before the first crash");
    assert_eq!((seen.twice, seen.lost), (0, 0), "{seen:?}");
}

/// What a run with tables that take turns came to.
#[derive(Debug)]
struct RollOver {
    /// Messages without an effect.
    lost: i64,
    /// Messages with a second effect before the first claim expired.
    twice: i64,
    /// Effects of which the end of the claim is known and has a table, without which this says little.
    placed: i64,
    /// Places that went by.
    places: i64,
}

/// Delivers messages with twelve workers, three times each, until every delivery was handled or
/// recognised. The clock goes on by a second, which is one place, each forty deliveries; windows are
/// six seconds.
async fn roll_over(store: PgBucketStore, messages: usize) -> RollOver {
    let consumer = register(&store, WINDOW).await;
    let deliveries = Arc::new(three_times(messages));
    let next = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let sweeper = tokio::spawn({
        let (store, done) = (store.clone(), Arc::clone(&done));
        async move {
            while !done.load(Ordering::SeqCst) {
                // A server that was shut down is there again in a moment.
                if store.sweeper().pause(Duration::ZERO).sweep().await.is_err() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    });
    let workers: Vec<_> = (0..12)
        .map(|worker| {
            let (store, deliveries, next) = (store.clone(), deliveries.clone(), next.clone());
            tokio::spawn(async move {
                let mut random = Random(worker);
                loop {
                    let at = next.fetch_add(1, Ordering::SeqCst);
                    let Some(&message) = deliveries.get(at) else { return };
                    let began = Instant::now();
                    while at % 40 == 0 && try_advance(store.pool(), 1).await.is_err() {
                        assert!(began.elapsed() < Duration::from_secs(60));
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    while !delivered(&store, consumer, message, &mut random).await {
                        assert!(began.elapsed() < Duration::from_secs(60), "{message}");
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    sweeper.await.unwrap();

    let pool = store.pool();
    let lost = format!(
        "select count(*) from generate_series(0, {messages} - 1) m
         where not exists (select from handled h where h.message = m)"
    );
    // Who claims when the claim before has expired gets one that ends a whole window later.
    let twice = format!(
        "select count(*) from handled a join handled b
         on a.message = b.message and a.ctid < b.ctid and abs(a.ends - b.ends) < {WINDOW}"
    );
    let seen = RollOver {
        lost: scalar(pool, &lost).await,
        twice: scalar(pool, &twice).await,
        placed: scalar(pool, "select count(*) from handled where placed").await,
        places: scalar(pool, "select last_value - 200000000 from test_clock").await,
    };
    println!("{messages} messages, three deliveries each: {seen:?}");
    seen
}

/// One delivery: `true` if it may be acknowledged.
async fn delivered(
    store: &PgBucketStore,
    consumer: ConsumerId,
    message: u64,
    random: &mut Random,
) -> bool {
    let mut tx = match store.claim(patient(consumer, message, WINDOW)).await {
        Ok(Claimed::Won(tx)) => tx,
        Ok(Claimed::Duplicate(_)) => return true,
        Ok(Claimed::InFlight) => return false,
        // A server that was shut down, or under another level two at once.
        Err(_) => {
            tokio::time::sleep(Duration::from_millis(5)).await;
            return false;
        }
    };
    let written = sqlx::query(
        "insert into handled (message, ends, placed)
         select $1, e, exists (
             select from tower_inbox.ring, unnest(from_s, until_s) r(f, u) where f <= e and e < u
         )
         from tower_inbox.bucket_ends($2, $3, tower_inbox.now_s(null)) e",
    )
    .bind(message.cast_signed())
    .bind(consumer.get())
    .bind(uuid::Uuid::from(key(message)))
    .execute(tx.connection_mut())
    .await;
    tokio::time::sleep(Duration::from_millis(random.below(21))).await;
    // One handler in ten fails after its work.
    written.is_ok() && random.below(10) > 0 && tx.commit().await.is_ok()
}

/// Every message three times, none far from its like.
fn three_times(messages: usize) -> Vec<u64> {
    let mut random = Random(3);
    let mut deliveries: Vec<(u64, u64)> = (0..messages as u64)
        .flat_map(|message| [message; 3])
        .map(|message| (message * 3 + random.below(12), message))
        .collect();
    deliveries.sort_unstable();
    deliveries.into_iter().map(|(_, message)| message).collect()
}

async fn roll_over_store(pool: &PgPool) -> PgBucketStore {
    let store = store_on_a_shared_clock(pool).await;
    sqlx::query("create table handled (message int8 not null, ends int4, placed boolean not null)")
        .execute(pool)
        .await
        .unwrap();
    store.period(Duration::from_secs(1))
}

/// Another pool for the same database.
fn with_options<const N: usize>(pool: &PgPool, options: [(&str, &str); N]) -> PgPool {
    PgPoolOptions::new()
        .max_connections(16)
        .acquire_timeout(Duration::from_secs(60))
        .test_before_acquire(false)
        .connect_lazy_with((*pool.connect_options()).clone().options(options))
}

/// A store on a clock in the database: a claim reads it when its turn has come, as it does the real
/// one. A sequence, so that no snapshot keeps an older time.
async fn store_on_a_shared_clock(pool: &PgPool) -> PgBucketStore {
    let store = PgBucketStore::new(pool.clone());
    store.schema().up().await.unwrap();
    let clock = "create sequence test_clock start 200000000;
                 select setval('test_clock', 200000000);
                 create or replace function tower_inbox.now_s(at float8) returns float8
                 language sql volatile
                 as 'select coalesce(at, (select last_value + 0.25 from public.test_clock))'";
    sqlx::raw_sql(clock).execute(pool).await.unwrap();
    store
}

async fn advance(pool: &PgPool, seconds: i64) {
    try_advance(pool, seconds).await.unwrap();
}

async fn try_advance(pool: &PgPool, seconds: i64) -> Result<(), sqlx::Error> {
    sqlx::query("select setval('test_clock', last_value + $1) from test_clock")
        .bind(seconds)
        .execute(pool)
        .await
        .map(drop)
}

async fn store(pool: &PgPool) -> (PgBucketStore, Clock) {
    let clock = Clock::at_unix_millis(NOW);
    let store = PgBucketStore::new(pool.clone()).with_clock(clock.clone());
    store.schema().up().await.unwrap();
    (store, clock)
}

async fn register<St: InboxStore>(store: &St, seconds: i64) -> ConsumerId {
    store.meta().await.unwrap();
    store.register("billing".into(), window(seconds), PROBE).await.unwrap()
}

async fn won<St: InboxStore>(
    store: &St,
    consumer: ConsumerId,
    number: u64,
    seconds: i64,
) -> tower_inbox::inbox::store::BoxTx<St::Connection> {
    match store.claim(patient(consumer, number, seconds)).await.unwrap() {
        Claimed::Won(tx) => tx,
        other => panic!("the message {number} is free, but the store says {other:?}"),
    }
}

async fn assert_duplicate<St: InboxStore>(store: &St, consumer: ConsumerId, number: u64) {
    let claimed = store.claim(patient(consumer, number, DAY)).await.unwrap();
    assert!(matches!(claimed, Claimed::Duplicate(_)), "message {number}: {claimed:?}");
}

/// What one store leased is in flight in the other, free once it is released, and a duplicate once it
/// is completed.
async fn leases_agree<A: InboxStore, B: InboxStore>(
    one: &A,
    other: &B,
    consumer: ConsumerId,
    number: u64,
) {
    let request = || LeaseRequest::new(consumer, key(number), window(30), "a test".into());
    let LeaseClaimed::Granted(grant) = one.lease(request()).await.unwrap() else {
        panic!("the message {number} is free");
    };
    assert_eq!(other.lease(request()).await.unwrap(), LeaseClaimed::InFlight);
    assert!(one.settle(grant, Deed::Extend(window(60))).await.unwrap());
    assert!(matches!(
        other.claim(patient(consumer, number, DAY)).await.unwrap(),
        Claimed::InFlight
    ));
    assert!(one.settle(grant, Deed::Release).await.unwrap());
    assert!(!one.settle(grant, Deed::Release).await.unwrap());
    let LeaseClaimed::Granted(grant) = one.lease(request()).await.unwrap() else {
        panic!("the message {number} was released");
    };
    assert_eq!(grant.attempt, 2);
    assert!(one.settle(grant, Deed::Complete(window(DAY))).await.unwrap());
    assert_duplicate(other, consumer, number).await;
    assert_duplicate(one, consumer, number).await;
}

async fn sweep<St: SweepStore + Clone>(store: &St) -> u64 {
    let sweeper = tower_inbox::inbox::retention::Sweeper::new(store.clone());
    sweeper.pause(Duration::ZERO).sweep().await.unwrap()
}

async fn place_of(pool: &PgPool, number: u64) -> i16 {
    sqlx::query_scalar("select max(bucket) from tower_inbox.bucket where key = $1")
        .bind(uuid::Uuid::from(key(number)))
        .fetch_one(pool)
        .await
        .unwrap()
}

/// And every row is in the place that its expiry belongs to, or in table 0, or over.
async fn assert_places_are_apart(pool: &PgPool) {
    let places = "with place as (
        select n, f, u from tower_inbox.ring, unnest(from_s, until_s) with ordinality r(f, u, n)
        where u > 0
    )
    select (select count(*) from place a join place b on a.n < b.n and a.f < b.u and b.f < a.u)
         + (select count(*) from place where f >= u)
         + (select count(*) from tower_inbox.bucket b
            where b.bucket > 0 and not exists (
                select from place where n = b.bucket and f <= b.expires_at and b.expires_at < u
            ))";
    assert_eq!(scalar::<i64>(pool, places).await, 0);
}

async fn fill(pool: &PgPool, bucket: i16, rows: i64) {
    let sql = format!(
        "insert into tower_inbox.bucket_{bucket} (key, expires_at, consumer)
         select gen_random_uuid(), until_s[{bucket}] - 1, 1
         from tower_inbox.ring, generate_series(1, {rows})"
    );
    sqlx::query(AssertSqlSafe(sql)).execute(pool).await.unwrap();
}

async fn bytes(pool: &PgPool, bucket: i16) -> i64 {
    scalar(pool, &format!("select pg_table_size('tower_inbox.bucket_{bucket}')")).await
}

async fn scalar<T>(pool: &PgPool, sql: &str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(pool).await.unwrap()
}

fn patient(consumer: ConsumerId, number: u64, seconds: i64) -> Claim {
    Claim::new(consumer, key(number), window(seconds), Duration::from_secs(5))
}

fn key(number: u64) -> InboxKey {
    InboxKey::from_bytes(u128::from(number).wrapping_mul(KEY_STEP).to_be_bytes())
}

fn window(seconds: i64) -> Window {
    Duration::from_secs(seconds.cast_unsigned()).try_into().unwrap()
}

fn messages(a_tenth: usize) -> usize {
    if env::var_os("TOWER_INBOX_LONG").is_some() { a_tenth * 10 } else { a_tenth }
}

const DAY: i64 = 24 * 3600;
/// Of a run with tables that take turns.
const WINDOW: i64 = 6;
const PROBE: InboxKey = InboxKey::from_bytes([7; 16]);
// Spreads small numbers over all bits, as a hash would.
const KEY_STEP: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
