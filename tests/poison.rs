//! Messages that take their whole worker process down, again and again: they end among the dead
//! letters, and everything else takes effect once.
#![cfg(all(feature = "sqlite", feature = "postgres", feature = "testing"))]

mod support;

use std::{
    env,
    process::{Command, Stdio},
    time::Duration,
};

use sqlx::{SqliteConnection, postgres::PgPoolOptions};
use support::harness::{Postgres, Sqlite};
use tower::{Layer, ServiceExt, service_fn};
use tower_inbox::{
    BoxError, InboxLayer, Outcome,
    inbox::{
        DeadLetterPolicy, DeadLettered, InFlight, PgStore, Received, SqliteStore,
        store::{PoisonStore, SweepStore},
    },
    testing::Harness,
};
use tower_inbox_servers::PostgresServer;

#[test]
fn a_message_that_aborts_its_process_is_given_up_on_postgres() {
    let server = PostgresServer::start().unwrap();
    let url = server.url("postgres");
    block_on(async { postgres(&url).await.pool().close().await });
    run_until_done(&url);
    let (effects, letters) = block_on(async {
        let pool = postgres(&url).await.pool().clone();
        let effects: Vec<(String, i64)> = sqlx::query_as(EFFECTS).fetch_all(&pool).await.unwrap();
        let letters: Vec<(i32, i32, Vec<u8>)> = sqlx::query_as(
            "select started, finished, payload from tower_inbox.dead_letter order by payload",
        )
        .fetch_all(&pool)
        .await
        .unwrap();
        (effects, letters)
    });
    assert_eq!(effects, expected_effects());
    assert_eq!(letters, [(4, 0, b"5".to_vec()), (3, 3, b"7".to_vec())]);
}

#[test]
fn a_message_that_aborts_its_process_is_given_up_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inbox.db");
    let path = path.to_str().unwrap();
    block_on(async { sqlite(path).await.pool().close().await });
    run_until_done(path);
    let (effects, letters) = block_on(async {
        let pool = sqlite(path).await.pool().clone();
        let effects: Vec<(String, i64)> = sqlx::query_as(EFFECTS).fetch_all(&pool).await.unwrap();
        let letters: Vec<(i32, i32, Vec<u8>)> = sqlx::query_as(
            "select started, finished, payload from tower_inbox_dead_letter order by payload",
        )
        .fetch_all(&pool)
        .await
        .unwrap();
        (effects, letters)
    });
    assert_eq!(effects, expected_effects());
    assert_eq!(letters, [(4, 0, b"5".to_vec()), (3, 3, b"7".to_vec())]);
}

/// A delivery that is dropped on its way to the claim, by a timeout around it, is no attempt: no handler
/// ran. Here another message's handler holds the only connection.
#[tokio::test]
async fn a_delivery_that_never_got_to_its_handler_is_no_attempt() {
    let store = SqliteStore::in_memory().await.unwrap();
    store.schema().up().await.unwrap();
    let policy = DeadLetterPolicy::after(2).presumed_dead_after(Duration::ZERO);
    let layer =
        InboxLayer::new("billing", store.clone()).dedup_by(|id: &u64| *id).dead_letters(policy);
    let never_ends = InboxLayer::new("shipping", store).dedup_by(|id: &u64| *id).layer(service_fn(
        |received: Received<u64, SqliteConnection>| async move {
            let _held = received.tx;
            std::future::pending::<Result<(), BoxError>>().await
        },
    ));
    layer.prepare().await.unwrap();
    let service = layer
        .layer(service_fn(|_: Received<u64, SqliteConnection>| async { Ok::<_, BoxError>(()) }));
    // Our start is counted, then the other handler gets the connection, for which our claim waits. Every
    // other time our start waits, too: first it takes the last one back. Now and then we are first.
    let mut others = 100..;
    'keys: for ours in 0..20 {
        for _ in 0..8 {
            let short = Duration::from_millis(100);
            let (delivered, other) = tokio::join!(
                tokio::time::timeout(short, service.clone().oneshot(ours)),
                tokio::time::timeout(short, never_ends.clone().oneshot(others.next().unwrap())),
            );
            assert!(other.is_err(), "{other:?}");
            if delivered.is_ok() {
                continue 'keys;
            }
        }
        assert_eq!(service.oneshot(ours).await.unwrap(), Outcome::Handled(()));
        return;
    }
    panic!("we were always first");
}

/// The process that the tests above start again and again: consumes the whole stream in order, as from
/// a broker that begins at the first message that was not acknowledged. Without the variable that says
/// where, there is nothing to do.
#[test]
fn worker_process() {
    let Ok(database) = env::var(WORKER) else { return };
    block_on(async {
        if database.starts_with("postgres://") {
            consume::<Postgres>(postgres(&database).await).await;
        } else {
            consume::<Sqlite>(sqlite(&database).await).await;
        }
    });
}

async fn consume<H: Harness>(store: H::Store)
where
    H::Store: PoisonStore + SweepStore,
{
    let layer = InboxLayer::new("billing", store)
        .dedup_by(|id: &u64| *id)
        .payload(|id: &u64| id.to_string().into_bytes())
        // A killed worker's transaction may take the server a moment.
        .in_flight_wait(Duration::from_secs(5))
        .dead_letters(DeadLetterPolicy::after(3).presumed_dead_after(Duration::from_secs(1)));
    let service = layer.layer(service_fn(|received: Received<u64, H::Connection>| async move {
        let (message, mut tx) = received.into_parts();
        H::write(&mut tx, &message.to_string()).await?;
        match message {
            KILLER => std::process::abort(),
            FAILURE => Err(BoxError::from("this one never works")),
            _ => Ok(()),
        }
    }));
    for message in 0..MESSAGES {
        let mut deliveries = 0;
        while let Err(error) = service.clone().oneshot(message).await {
            if error.is::<DeadLettered>() {
                break;
            }
            assert!(error.is::<InFlight>() || message == FAILURE, "{error:?}");
            if error.is::<InFlight>() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            deliveries += 1;
            assert!(deliveries < 100, "{error:?}");
        }
    }
}

/// Starts the process until it comes to the end of the stream.
fn run_until_done(database: &str) {
    let mut aborted = 0;
    loop {
        let status = Command::new(env::current_exe().unwrap())
            .args(["worker_process", "--exact"])
            .env(WORKER, database)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        if status.success() {
            break;
        }
        aborted += 1;
        assert!(aborted <= 3, "{status}");
    }
    assert_eq!(aborted, 3, "the message was tried three times");
}

fn expected_effects() -> Vec<(String, i64)> {
    let handled = (0..MESSAGES).filter(|message| ![KILLER, FAILURE].contains(message));
    handled.map(|message| (message.to_string(), 1)).collect()
}

async fn postgres(url: &str) -> PgStore {
    let pool = PgPoolOptions::new().max_connections(4).connect(url).await.unwrap();
    let store = PgStore::new(pool);
    store.schema().up().await.unwrap();
    sqlx::query("create table if not exists effect (name text not null)")
        .execute(store.pool())
        .await
        .unwrap();
    store
}

async fn sqlite(path: &str) -> SqliteStore {
    let store = SqliteStore::open(path).await.unwrap();
    store.schema().up().await.unwrap();
    sqlx::query("create table if not exists effect (name text not null)")
        .execute(store.pool())
        .await
        .unwrap();
    store
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

const EFFECTS: &str = "select name, count(*) from effect group by name order by name";
const MESSAGES: u64 = 10;
/// Ends the process in its handler.
const KILLER: u64 = 5;
/// Fails every time.
const FAILURE: u64 = 7;
const WORKER: &str = "TOWER_INBOX_POISON_DATABASE";
