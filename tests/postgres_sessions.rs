//! What handlers, settings and cancellations do to a PostgreSQL session, and that none of it loses a
//! message or harms who gets the connection next.
#![cfg(all(feature = "postgres", feature = "testing"))]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use sqlx::{
    Connection, PgConnection, PgPool, Row,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tower::{Layer, ServiceExt, service_fn};
use tower_inbox::{
    BoxError, InboxLayer, Outcome,
    error::{StoreError, StoreErrorKind},
    inbox::{ByFields, InFlight, PgStore, Received, WithoutKey},
};

/// Polls a delivery n times and drops it, for every n until it is done. With one connection in the
/// pool, whoever writes next writes through the very connection the dropped future had: that write
/// must be there for others, and the next delivery must decide rightly.
///
/// With sqlx 0.9.0's own `pool.begin()` in place of the guard, the writes after a dropped begin are
/// answered `Ok` and lost (launchbadge/sqlx#4385).
#[sqlx::test(migrations = false)]
async fn a_future_dropped_at_each_await_leaves_a_clean_connection(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let pool = small_pool(options.clone(), 1).await;
    let store = migrated(pool.clone()).await;
    dropped_at_each_await(&pool, options, store).await;
}

/// The same while the store keeps the connection from delivery to delivery.
#[sqlx::test(migrations = false)]
async fn a_future_dropped_at_each_await_leaves_a_clean_kept_connection(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let pool = small_pool(options.clone(), 1).await;
    let store = migrated(pool.clone()).await.keep(Duration::from_millis(20));
    dropped_at_each_await(&pool, options, store).await;
}

async fn dropped_at_each_await(pool: &PgPool, options: PgConnectOptions, store: PgStore) {
    let mut witness = PgConnection::connect_with(&options).await.unwrap();
    let service =
        layer(store).layer(service_fn(async |mut received: Received<u64, PgConnection>| {
            tokio::task::yield_now().await;
            for _ in 0..2 {
                write(&mut received.tx, received.message).await?;
            }
            Ok::<_, BoxError>(())
        }));
    let (mut dropped, mut message) = (0, 0);
    // Several passes: which poll meets which await depends on how fast the server answers.
    for pass in 0..8 {
        for polls in 0.. {
            message += 1;
            let mut delivery = Box::pin(service.clone().oneshot(message));
            let done = poll_times(&mut delivery, polls, pass).await;
            drop(delivery);
            dropped += u64::from(!done);

            let bystander = 1_000_000 + message;
            write(&mut pool.acquire().await.unwrap(), bystander).await.unwrap();
            assert_eq!(effects(&mut witness, bystander).await, 1, "lost after {polls} polls");
            let _ = service.clone().oneshot(message).await.unwrap();
            assert_eq!(effects(&mut witness, message).await, 2, "after {polls} polls");
            if done {
                break;
            }
        }
    }
    assert!(dropped >= 10, "only {dropped} places to be dropped at");
}

#[sqlx::test(migrations = false)]
async fn a_handler_that_swallows_a_database_error_has_not_handled_its_message(pool: PgPool) {
    let store = migrated(pool.clone()).await;
    let first = Arc::new(AtomicUsize::new(0));
    let service =
        layer(store).layer(service_fn(move |mut received: Received<u64, PgConnection>| {
            let first = first.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                write(&mut received.tx, received.message).await?;
                if first {
                    // PostgreSQL would answer the commit with success, and roll back.
                    let _ = sqlx::query("select 1 / 0").execute(&mut *received.tx).await;
                }
                Ok::<_, BoxError>(())
            }
        }));
    assert_eq!(kind(service.clone().oneshot(7).await), StoreErrorKind::Aborted);
    assert_eq!(service.clone().oneshot(7).await.unwrap(), Outcome::Handled(()));
    assert_eq!(service.oneshot(7).await.unwrap(), Outcome::Duplicate);
    assert_eq!(effects(&mut pool.acquire().await.unwrap(), 7).await, 1);
}

#[sqlx::test(migrations = false)]
async fn a_handler_that_ends_the_transaction_itself_is_told(pool: PgPool) {
    let store = migrated(pool.clone()).await;
    for end in ["commit", "rollback"] {
        let service = layer(store.clone()).layer(service_fn(
            move |mut received: Received<u64, PgConnection>| async move {
                sqlx::raw_sql(end).execute(&mut *received.tx).await?;
                Ok::<_, BoxError>(())
            },
        ));
        assert_eq!(kind(service.oneshot(7).await), StoreErrorKind::Aborted, "{end}");
        sqlx::raw_sql("delete from tower_inbox.inbox").execute(&pool).await.unwrap();
    }
    // And the connections are good for others.
    for _ in 0..10 {
        sqlx::query("select 1").execute(&pool).await.unwrap();
    }
}

#[sqlx::test(migrations = false)]
async fn savepoints_work_and_a_leaked_one_is_not_a_commit(pool: PgPool) {
    let store = migrated(pool.clone()).await;
    let service = layer(store.clone()).layer(service_fn(
        async |mut received: Received<u64, PgConnection>| {
            let mut inner = received.tx.begin().await?;
            write(&mut inner, 1).await?;
            inner.rollback().await?;
            let mut inner = received.tx.begin().await?;
            write(&mut inner, 2).await?;
            inner.commit().await?;
            Ok::<_, BoxError>(())
        },
    ));
    assert_eq!(service.oneshot(7).await.unwrap(), Outcome::Handled(()));
    let mut connection = pool.acquire().await.unwrap();
    assert_eq!((effects(&mut connection, 1).await, effects(&mut connection, 2).await), (0, 1));

    let leaks = layer(store.clone()).layer(service_fn(
        async |mut received: Received<u64, PgConnection>| {
            write(&mut received.tx, received.message).await?;
            std::mem::forget(received.tx.begin().await?);
            Ok::<_, BoxError>(())
        },
    ));
    assert_eq!(kind(leaks.oneshot(8).await), StoreErrorKind::Aborted);
    assert_eq!(effects(&mut connection, 8).await, 0);
    let service = layer(store).layer(service_fn(handler));
    assert_eq!(service.oneshot(8).await.unwrap(), Outcome::Handled(()));
}

#[sqlx::test(migrations = false)]
async fn claims_are_exact_under_every_isolation_level(_: PgPoolOptions, options: PgConnectOptions) {
    migrated(small_pool(options.clone(), 1).await).await;
    for level in ["read committed", "repeatable read", "serializable"] {
        let options = options.clone().options([("default_transaction_isolation", level)]);
        let pool = small_pool(options, 8).await;
        let store = PgStore::new(pool.clone());
        let mut connection = pool.acquire().await.unwrap();
        sqlx::raw_sql("delete from tower_inbox.inbox; delete from effect")
            .execute(&mut *connection)
            .await
            .unwrap();
        drop(connection);
        let service =
            layer(store).in_flight_wait(Duration::from_millis(20)).layer(service_fn(handler));
        service.clone().oneshot(0).await.unwrap().handled().unwrap();
        let workers: Vec<_> = (0..8)
            .map(|_| {
                let service = service.clone();
                tokio::spawn(async move {
                    for message in 1..30_u64 {
                        loop {
                            match service.clone().oneshot(message).await {
                                Ok(_) => break,
                                Err(error) if error.is::<InFlight>() => {}
                                Err(error) => panic!("{level}: {error:?}"),
                            }
                        }
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
        let mut connection = pool.acquire().await.unwrap();
        for message in 0..30 {
            assert_eq!(effects(&mut connection, message).await, 1, "{level}");
        }
    }
}

#[sqlx::test(migrations = false)]
async fn the_claim_is_prepared_once_and_again_when_it_is_gone(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let pool = small_pool(options, 1).await;
    let store = migrated(pool.clone()).await;
    let service = layer(store.clone()).layer(service_fn(handler));
    let prepared = || async {
        let sql = "select count(*) from pg_prepared_statements where name like 'tower\\_inbox\\_%'";
        sqlx::query_scalar::<_, i64>(sql).persistent(false).fetch_one(&pool).await.unwrap()
    };
    let unprepared = layer(store.prepared(false)).layer(service_fn(handler));
    assert_eq!(unprepared.oneshot(1).await.unwrap(), Outcome::Handled(()));
    assert_eq!(prepared().await, 0);
    for message in 2..5 {
        assert_eq!(service.clone().oneshot(message).await.unwrap(), Outcome::Handled(()));
        assert_eq!(prepared().await, 1);
    }
    sqlx::raw_sql(
        "do $$ declare claim text; begin \
         select name into strict claim from pg_prepared_statements \
         where name like 'tower\\_inbox\\_%'; \
         execute 'deallocate ' || claim; end $$",
    )
    .execute(&pool)
    .await
    .unwrap();
    assert_eq!(service.clone().oneshot(5).await.unwrap(), Outcome::Handled(()));
    assert_eq!(service.oneshot(1).await.unwrap(), Outcome::Duplicate);
    assert_eq!(prepared().await, 1);
}

/// Somebody who commits between a claim's look and its insert makes the insert fail, once.
#[sqlx::test(migrations = false)]
async fn a_claim_that_was_too_late_looks_again(pool: PgPool) {
    let store = migrated(pool.clone()).await;
    sqlx::raw_sql(
        "create sequence race;
        create function lose() returns trigger language plpgsql as $$
        begin
            if nextval('race') = 2 then
                raise exception using errcode = 'unique_violation', message = 'too late';
            end if;
            return new;
        end $$;
        create trigger lose before insert on tower_inbox.inbox
        for each row execute function lose()",
    )
    .execute(&pool)
    .await
    .unwrap();
    let service = layer(store).layer(service_fn(handler));
    for message in 1..=3 {
        assert_eq!(service.clone().oneshot(message).await.unwrap(), Outcome::Handled(()));
        assert_eq!(effects(&mut pool.acquire().await.unwrap(), message).await, 1);
    }
    let inserts: i64 =
        sqlx::query_scalar("select last_value from race").fetch_one(&pool).await.unwrap();
    assert_eq!(inserts, 4);
}

#[sqlx::test(migrations = false)]
async fn an_expired_claim_makes_room_together_with_its_lease(pool: PgPool) {
    let store = migrated(pool.clone()).await;
    let service = layer(store).layer(service_fn(handler));
    assert_eq!(service.clone().oneshot(7).await.unwrap(), Outcome::Handled(()));
    sqlx::raw_sql(
        "update tower_inbox.inbox set expires_at = 0;
        insert into tower_inbox.lease (consumer, key, token, attempt, lease_until, owner)
        select consumer, key, 1, 1, expires_at, 'gone' from tower_inbox.inbox",
    )
    .execute(&pool)
    .await
    .unwrap();
    assert_eq!(service.clone().oneshot(7).await.unwrap(), Outcome::Handled(()));
    assert_eq!(service.oneshot(7).await.unwrap(), Outcome::Duplicate);
    let rows: (i64, i64) = sqlx::query_as(
        "select (select count(*) from tower_inbox.inbox), (select count(*) from tower_inbox.lease)",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(rows, (1, 0));
}

#[sqlx::test(migrations = false)]
async fn the_handlers_own_settings_are_left_alone(_: PgPoolOptions, options: PgConnectOptions) {
    let pool = small_pool(options.options([("lock_timeout", "1234ms")]), 2).await;
    let store = migrated(pool.clone()).await;
    // The first claim of a message takes the fast path, one on an expired row the slow one.
    sqlx::raw_sql("create table setting (value text)").execute(&pool).await.unwrap();
    let service =
        layer(store).layer(service_fn(async |mut received: Received<u64, PgConnection>| {
            sqlx::query("insert into setting select current_setting('lock_timeout')")
                .execute(&mut *received.tx)
                .await?;
            Ok::<_, BoxError>(())
        }));
    assert_eq!(service.clone().oneshot(7).await.unwrap(), Outcome::Handled(()));
    sqlx::raw_sql("update tower_inbox.inbox set expires_at = 0").execute(&pool).await.unwrap();
    assert_eq!(service.clone().oneshot(7).await.unwrap(), Outcome::Handled(()));
    let settings: Vec<String> =
        sqlx::query_scalar("select value from setting").fetch_all(&pool).await.unwrap();
    assert_eq!(settings, ["1234ms", "1234ms"]);
}

#[sqlx::test(migrations = false)]
async fn in_flight_is_answered_after_the_wait_and_frees_its_connection(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let pool = small_pool(options, 4).await;
    let store = migrated(pool.clone()).await;
    let (started, mut is_started) = tokio::sync::mpsc::channel(1);
    let finish = Arc::new(tokio::sync::Notify::new());
    let slow = layer(store.clone()).layer(service_fn({
        let finish = Arc::clone(&finish);
        move |_: Received<u64, PgConnection>| {
            let (started, finish) = (started.clone(), Arc::clone(&finish));
            async move {
                started.send(()).await?;
                finish.notified().await;
                Ok::<_, BoxError>(())
            }
        }
    }));
    let held = tokio::spawn(slow.oneshot(7));
    is_started.recv().await.unwrap();

    for wait in [Duration::ZERO, Duration::from_millis(50), Duration::from_millis(300)] {
        let service = layer(store.clone()).in_flight_wait(wait).layer(service_fn(handler));
        let asked = Instant::now();
        let rivals = (0..3).map(|_| tokio::spawn(service.clone().oneshot(7)));
        for rival in rivals.collect::<Vec<_>>() {
            let error = rival.await.unwrap().unwrap_err();
            assert!(error.is::<InFlight>(), "{error}");
        }
        assert!(asked.elapsed() >= wait);
        // Another message gets through meanwhile.
        let other = 1000 + u64::try_from(wait.as_millis()).unwrap();
        assert_eq!(service.oneshot(other).await.unwrap(), Outcome::Handled(()));
    }
    // Who is patient learns the outcome.
    let patient = layer(store).in_flight_wait(Duration::from_secs(20)).layer(service_fn(handler));
    let patient = tokio::spawn(patient.oneshot(7));
    tokio::time::sleep(Duration::from_millis(100)).await;
    finish.notify_one();
    assert_eq!(held.await.unwrap().unwrap(), Outcome::Handled(()));
    assert_eq!(patient.await.unwrap().unwrap(), Outcome::Duplicate);
}

/// A host application whose own `begin` was dropped leaves a transaction open in the pool
/// (launchbadge/sqlx#4385), and a duplicate that meets it makes it a failed one.
#[sqlx::test(migrations = false)]
async fn a_session_that_somebody_else_spoiled_is_replaced(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let pool = small_pool(options, 1).await;
    let store = migrated(pool.clone()).await;
    let service = layer(store.clone()).layer(service_fn(handler));
    let keyless = InboxLayer::new("billing", store)
        .dedup_by(|_: &u64| None::<u64>)
        .without_key(WithoutKey::PassThrough)
        .layer(service_fn(handler));
    assert_eq!(service.clone().oneshot(7).await.unwrap(), Outcome::Handled(()));
    assert_eq!(keyless.clone().oneshot(7).await.unwrap(), Outcome::Handled(()));
    for round in 0..3 {
        for spoil in [true, false] {
            if spoil {
                sqlx::raw_sql("begin").execute(&pool).await.unwrap();
                assert_eq!(service.clone().oneshot(7).await.unwrap(), Outcome::Duplicate);
            }
            let message = 100 + 10 * round + u64::from(spoil);
            assert_eq!(service.clone().oneshot(message).await.unwrap(), Outcome::Handled(()));
            if spoil {
                sqlx::raw_sql("begin").execute(&pool).await.unwrap();
                assert_eq!(service.clone().oneshot(7).await.unwrap(), Outcome::Duplicate);
            }
            assert_eq!(keyless.clone().oneshot(message).await.unwrap(), Outcome::Handled(()));
            assert_eq!(effects(&mut pool.acquire().await.unwrap(), message).await, 2);
        }
    }
}

/// A handler that took over an expired claim works for long: neither the sweeper waits for it, nor do
/// the claims of other rows in the same batch wait for the sweeper.
#[sqlx::test(migrations = false)]
async fn a_slow_handler_holds_up_neither_sweeper_nor_claims(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let pool = small_pool(options, 4).await;
    let store = migrated(pool.clone()).await;
    let service = layer(store.clone()).layer(service_fn(handler));
    for message in 0..50 {
        assert_eq!(service.clone().oneshot(message).await.unwrap(), Outcome::Handled(()));
    }
    sqlx::raw_sql("update tower_inbox.inbox set expires_at = 0").execute(&pool).await.unwrap();

    let (started, mut is_started) = tokio::sync::mpsc::channel(1);
    let finish = Arc::new(tokio::sync::Notify::new());
    let slow = layer(store.clone()).layer(service_fn({
        let finish = Arc::clone(&finish);
        move |mut received: Received<u64, PgConnection>| {
            let (started, finish) = (started.clone(), Arc::clone(&finish));
            async move {
                started.send(()).await?;
                finish.notified().await;
                write(&mut received.tx, received.message).await?;
                Ok::<_, BoxError>(())
            }
        }
    }));
    let slow = tokio::spawn(slow.oneshot(7));
    is_started.recv().await.unwrap();

    let patience = Duration::from_secs(20);
    let swept = tokio::time::timeout(patience, store.sweeper().sweep()).await;
    assert_eq!(swept.expect("the sweeper waits for the handler").unwrap(), 49);
    let other = tokio::time::timeout(patience, service.clone().oneshot(8)).await;
    assert_eq!(other.expect("the claim waits").unwrap(), Outcome::Handled(()));
    finish.notify_one();
    assert_eq!(slow.await.unwrap().unwrap(), Outcome::Handled(()));
    assert_eq!(service.oneshot(7).await.unwrap(), Outcome::Duplicate);
}

#[sqlx::test(migrations = false)]
async fn a_duplicate_writes_nothing(pool: PgPool) {
    let store = migrated(pool.clone()).await;
    let service = layer(store).layer(service_fn(handler));
    assert_eq!(service.clone().oneshot(7).await.unwrap(), Outcome::Handled(()));
    let position = || async {
        let row = sqlx::query(
            "select pg_current_wal_insert_lsn()::text, pg_relation_size('tower_inbox.inbox'), \
             n_dead_tup, n_tup_ins from pg_stat_user_tables where relname = 'inbox'",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        row.get::<i64, _>(1)
    };
    let before = position().await;
    for _ in 0..200 {
        assert_eq!(service.clone().oneshot(7).await.unwrap(), Outcome::Duplicate);
    }
    assert_eq!(position().await, before);
    sqlx::raw_sql("vacuum tower_inbox.inbox").execute(&pool).await.unwrap();
    let tuples: i64 = sqlx::query_scalar(
        "select count(*) from generate_series(0, 9) n where exists \
         (select from tower_inbox.inbox where ctid = format('(0,%s)', n)::tid)",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(tuples, 1, "no dead row took a place before the live one");
}

async fn handler(mut received: Received<u64, PgConnection>) -> Result<(), BoxError> {
    write(&mut received.tx, received.message).await?;
    Ok(())
}

fn layer(store: PgStore) -> InboxLayer<PgStore, ById> {
    let id: fn(&u64) -> u64 = |id| *id;
    InboxLayer::new("billing", store).dedup_by(id)
}

type ById = ByFields<fn(&u64) -> u64, u64>;

async fn small_pool(options: PgConnectOptions, connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .test_before_acquire(false)
        .connect_with(options)
        .await
        .unwrap()
}

async fn migrated(pool: PgPool) -> PgStore {
    let store = PgStore::new(pool);
    store.schema().up().await.unwrap();
    sqlx::query("create table effect (message int8)").execute(store.pool()).await.unwrap();
    store
}

async fn write(connection: &mut PgConnection, message: u64) -> Result<(), sqlx::Error> {
    sqlx::query("insert into effect (message) values ($1)")
        .bind(message.cast_signed())
        .execute(connection)
        .await
        .map(drop)
}

async fn effects(connection: &mut PgConnection, message: u64) -> i64 {
    sqlx::query_scalar("select count(*) from effect where message = $1")
        .bind(message.cast_signed())
        .fetch_one(connection)
        .await
        .unwrap()
}

fn kind<T: std::fmt::Debug>(result: Result<T, BoxError>) -> StoreErrorKind {
    let error = result.unwrap_err();
    error.downcast_ref::<StoreError>().unwrap_or_else(|| panic!("{error:?}")).kind()
}

/// Polls up to a number of times, with a rest before the last one that differs from pass to pass,
/// and says whether the future finished.
async fn poll_times<F: Future + Unpin>(future: &mut F, polls: u64, pass: u64) -> bool {
    for poll in 0..polls {
        if poll + 1 == polls {
            tokio::time::sleep(Duration::from_micros(pass * 150)).await;
        } else {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut done = false;
        std::future::poll_fn(|cx| {
            done = std::pin::Pin::new(&mut *future).poll(cx).is_ready();
            Poll::Ready(())
        })
        .await;
        if done {
            return true;
        }
    }
    false
}
