//! Connections that a store keeps between deliveries harm nobody: not the pool's other users, not the
//! server, and not the delivery that gets one which died.
#![cfg(feature = "postgres")]

use std::time::{Duration, Instant};

use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::{sleep, timeout};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneService};
use tower_inbox::{
    BoxError, InboxLayer, Outcome,
    inbox::{PgStore, Received},
};

#[sqlx::test(migrations = false)]
async fn it_serves_delivery_after_delivery(_: PgPoolOptions, options: PgConnectOptions) {
    let pool = small_pool(options, 4).await;
    let service = inbox(&pool, LONG).await;
    let mut backends = Vec::new();
    for message in 0..20 {
        assert_eq!(service.clone().oneshot(message).await.unwrap(), Outcome::Handled(()));
        assert_eq!(service.clone().oneshot(message).await.unwrap(), Outcome::Duplicate);
        let backend: i32 = sqlx::query_scalar("select backend from effect where message = $1")
            .bind(message.cast_signed())
            .fetch_one(&pool)
            .await
            .unwrap();
        backends.push(backend);
    }
    backends.dedup();
    assert_eq!(backends.len(), 1, "{backends:?}");
}

#[sqlx::test(migrations = false)]
async fn it_goes_back_when_its_time_is_over(_: PgPoolOptions, options: PgConnectOptions) {
    let pool = small_pool(options, 1).await;
    let service = inbox(&pool, Duration::from_millis(200)).await;
    assert_eq!(service.clone().oneshot(1).await.unwrap(), Outcome::Handled(()));
    assert_eq!(pool.num_idle(), 0);
    // Nobody delivers anything any more.
    timeout(PATIENCE, async {
        while pool.num_idle() == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("it is kept for good");
}

/// sqlx counts transactions, and counts one while a connection is kept.
#[sqlx::test(migrations = false)]
async fn the_pools_other_users_begin_as_ever(_: PgPoolOptions, options: PgConnectOptions) {
    let pool = small_pool(options.clone(), 1).await;
    let service = inbox(&pool, Duration::from_millis(20)).await;
    let mut witness = PgConnection::connect_with(&options).await.unwrap();
    for message in 0..10 {
        assert_eq!(service.clone().oneshot(message).await.unwrap(), Outcome::Handled(()));
        let mut tx = pool.begin().await.unwrap();
        assert_eq!(state(&mut witness, message).await, "idle in transaction");
        sqlx::query("insert into effect (message) values (-1)").execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(state(&mut witness, message).await, "idle");
    }
    let others: i64 = sqlx::query_scalar("select count(*) from effect where message = -1")
        .fetch_one(&mut witness)
        .await
        .unwrap();
    assert_eq!(others, 10);
}

/// The handler of a delivery on a kept connection can use savepoints, fail, or be dropped.
#[sqlx::test(migrations = false)]
async fn what_a_handler_may_do_it_may_do_on_it(_: PgPoolOptions, options: PgConnectOptions) {
    let pool = small_pool(options.clone(), 1).await;
    let store = PgStore::new(pool.clone()).keep(LONG);
    store.schema().up().await.unwrap();
    sqlx::query("create table effect (message int8, backend int4)").execute(&pool).await.unwrap();
    let handler = |mut received: Received<u64, PgConnection>| async move {
        let message = received.message.cast_signed();
        let insert = "insert into effect (message) values ($1)";
        sqlx::query(insert).bind(message).execute(&mut *received.tx).await?;
        let mut inner = received.tx.begin().await?;
        sqlx::query(insert).bind(-message).execute(&mut *inner).await?;
        inner.rollback().await?;
        match message % 5 {
            1 => return Err(BoxError::from("it fails")),
            2 => drop(sqlx::query("select 1 / 0").execute(&mut *received.tx).await),
            3 => std::mem::forget(received.tx.begin().await?),
            4 => std::future::pending().await,
            _ => {}
        }
        Ok(())
    };
    let service = InboxLayer::new("billing", store)
        .dedup_by(|message: &u64| *message)
        .layer(service_fn(handler));
    for message in 1..=30 {
        let delivery = service.clone().oneshot(message);
        let patience = if message % 5 == 4 { Duration::from_millis(500) } else { PATIENCE };
        let outcome = timeout(patience, delivery).await;
        assert_eq!(matches!(outcome, Ok(Ok(_))), message % 5 == 0, "{message}: {outcome:?}");
    }
    let mut witness = PgConnection::connect_with(&options).await.unwrap();
    let effects: Vec<i64> = sqlx::query_scalar("select message from effect order by message")
        .fetch_all(&mut witness)
        .await
        .unwrap();
    assert_eq!(effects, [5, 10, 15, 20, 25, 30]);
}

#[sqlx::test(migrations = false)]
async fn others_get_a_connection_of_a_busy_pool(_: PgPoolOptions, options: PgConnectOptions) {
    let pool = small_pool(options, 1).await;
    let service = inbox(&pool, Duration::from_millis(50)).await;
    let busy = tokio::spawn(async move {
        for message in 0.. {
            let _ = service.clone().oneshot(message).await.unwrap();
        }
    });
    for _ in 0..5 {
        sleep(Duration::from_millis(20)).await;
        let other = timeout(PATIENCE, sqlx::query("select 1").execute(&pool)).await;
        other.expect("deliveries keep the one connection among themselves").unwrap();
    }
    busy.abort();
}

/// A delivery that waits for the pool is not overtaken for as long as the others keep theirs.
#[sqlx::test(migrations = false)]
async fn more_deliveries_than_connections_take_turns(_: PgPoolOptions, options: PgConnectOptions) {
    let pool = small_pool(options, 2).await;
    let service = inbox(&pool, LONG).await;
    let began = Instant::now();
    let workers: Vec<_> = (0..8_u64)
        .map(|worker| {
            let service = service.clone();
            tokio::spawn(async move {
                for message in 0..10 {
                    let _ = service.clone().oneshot(100 * worker + message).await.unwrap();
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    assert!(began.elapsed() < LONG, "somebody waited until a connection was given up");
}

#[sqlx::test(migrations = false)]
async fn it_holds_no_transaction_open(_: PgPoolOptions, options: PgConnectOptions) {
    let pool = small_pool(options.clone(), 1).await;
    let service = inbox(&pool, LONG).await;
    let mut witness = PgConnection::connect_with(&options).await.unwrap();
    for message in 1..5 {
        assert_eq!(service.clone().oneshot(message).await.unwrap(), Outcome::Handled(()));
        timeout(PATIENCE, async {
            while state(&mut witness, message).await != "idle" {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("its transaction stays open");
    }
}

#[sqlx::test(migrations = false)]
async fn one_that_died_is_replaced(_: PgPoolOptions, options: PgConnectOptions) {
    let pool = small_pool(options.clone(), 2).await;
    let service = inbox(&pool, LONG).await;
    let mut witness = PgConnection::connect_with(&options).await.unwrap();
    for message in 1..5 {
        assert_eq!(service.clone().oneshot(message).await.unwrap(), Outcome::Handled(()));
        sqlx::query("select pg_terminate_backend(backend, 5000) from effect where message = $1")
            .bind(message.cast_signed())
            .execute(&mut witness)
            .await
            .unwrap();
    }
    assert_eq!(service.clone().oneshot(5).await.unwrap(), Outcome::Handled(()));
    let effects: i64 =
        sqlx::query_scalar("select count(*) from effect").fetch_one(&mut witness).await.unwrap();
    assert_eq!(effects, 5);
}

#[sqlx::test(migrations = false)]
async fn a_pool_that_is_closed_gets_it_back(_: PgPoolOptions, options: PgConnectOptions) {
    let pool = small_pool(options, 2).await;
    let service = inbox(&pool, Duration::from_millis(200)).await;
    assert_eq!(service.clone().oneshot(1).await.unwrap(), Outcome::Handled(()));
    timeout(PATIENCE, pool.close()).await.expect("the pool waits for good");
    service.oneshot(2).await.unwrap_err();
}

/// The last owner of a store may outlive the runtime, and a pool takes nothing back without one.
#[test]
fn it_may_be_dropped_after_its_runtime() {
    let url = std::env::var("DATABASE_URL").expect("DATABASE_URL names a server");
    let server: PgConnectOptions = url.parse().unwrap();
    let name = format!("tower_inbox_keep_{}", std::process::id());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let service = runtime.block_on(async {
        let mut admin = PgConnection::connect_with(&server).await.unwrap();
        let create = AssertSqlSafe(format!("create database {name}"));
        sqlx::raw_sql(create).execute(&mut admin).await.unwrap();
        let pool = small_pool(server.clone().database(&name), 1).await;
        let service = inbox(&pool, LONG).await;
        assert_eq!(service.clone().oneshot(1).await.unwrap(), Outcome::Handled(()));
        assert_eq!(pool.num_idle(), 0);
        service
    });
    drop(runtime);
    drop(service);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut admin = PgConnection::connect_with(&server).await.unwrap();
        let drop = AssertSqlSafe(format!("drop database {name} with (force)"));
        sqlx::raw_sql(drop).execute(&mut admin).await.unwrap();
    });
}

async fn handle(mut received: Received<u64, PgConnection>) -> Result<(), sqlx::Error> {
    sqlx::query("insert into effect (message, backend) values ($1, pg_backend_pid())")
        .bind(received.message.cast_signed())
        .execute(&mut *received.tx)
        .await
        .map(drop)
}

type Service = BoxCloneService<u64, Outcome<()>, BoxError>;

async fn inbox(pool: &PgPool, stay: Duration) -> Service {
    let store = PgStore::new(pool.clone()).keep(stay);
    store.schema().up().await.unwrap();
    sqlx::query("create table effect (message int8, backend int4)").execute(pool).await.unwrap();
    let layer = InboxLayer::new("billing", store).dedup_by(|message: &u64| *message);
    layer.prepare().await.unwrap();
    BoxCloneService::new(layer.layer(service_fn(handle)))
}

async fn small_pool(options: PgConnectOptions, connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .test_before_acquire(false)
        .connect_with(options)
        .await
        .unwrap()
}

/// What the session that handled a message does now.
async fn state(witness: &mut PgConnection, message: u64) -> String {
    sqlx::query_scalar(
        "select a.state from pg_stat_activity a join effect e on e.backend = a.pid \
         where e.message = $1",
    )
    .bind(message.cast_signed())
    .fetch_one(witness)
    .await
    .unwrap()
}

const LONG: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(15);
