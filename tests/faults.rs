//! Workers killed with -9, a server shut down in the middle, handlers that fail, deliveries that come
//! twice: every effect is there exactly once, counted in the database.
//!
//! A tenth of the rounds by default, all with `TOWER_INBOX_LONG=1`.
#![cfg(all(feature = "sqlite", feature = "postgres", feature = "testing"))]

mod support;

use std::{
    env,
    path::Path,
    process::{Child, Command, Stdio},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use support::{
    harness::{Postgres, Sqlite},
    random::Random,
};
use tower::{Layer, ServiceExt, service_fn};
use tower_inbox::{
    BoxError, InboxLayer, Outcome,
    inbox::{PgStore, Received, SqliteStore},
    testing::Harness,
};
use tower_inbox_servers::PostgresServer;

/// Sixteen workers, thirty per cent duplicates, one handler in ten fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_workers_with_duplicates_and_failures_on_postgres() {
    let server = PostgresServer::start().unwrap();
    let store = postgres(&server).await;
    let handled = deliver_all::<Postgres>(store.clone(), 16, 1, &AtomicBool::new(true)).await;
    assert_eq!(handled, MESSAGES);
    assert_each_once(&postgres_effects(&store).await);
}

/// The same on a file.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_workers_with_duplicates_and_failures_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite(&folder.path().join("inbox.db")).await;
    let handled = deliver_all::<Sqlite>(store.clone(), 16, 1, &AtomicBool::new(true)).await;
    assert_eq!(handled, MESSAGES);
    assert_each_once(&sqlite_effects(&store).await);
}

/// The server is shut down at once, without a checkpoint, again and again under load.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_crashes_under_load_loses_and_doubles_nothing() {
    // Durable: what a server acknowledges without writing it, no inbox can keep.
    let mut server = PostgresServer::builder().durable(true).start().unwrap();
    let store = postgres(&server).await;
    let handled = Arc::new(AtomicU64::new(0));
    let workers = tokio::spawn({
        let (store, handled) = (store.clone(), Arc::clone(&handled));
        async move {
            let done = deliver_all::<Postgres>(store, 8, 2, &AtomicBool::new(false)).await;
            handled.store(done, Ordering::SeqCst);
        }
    });
    let mut crashes = 0;
    let mut random = Random(7);
    while crashes < rounds(4) && !workers.is_finished() {
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
    workers.await.unwrap();
    assert!(crashes > 0, "the workers were done before the first crash");
    // The last crash may have come after the last message, and left the pool with dead connections.
    let store = postgres(&server).await;
    assert_each_once(&postgres_effects(&store).await);
    // A commit whose answer the crash swallowed is found out by the redelivery, as a duplicate.
    assert!(handled.load(Ordering::SeqCst) <= MESSAGES);
}

/// Processes that consume the same stream are killed at random moments and started again.
#[test]
fn killed_workers_lose_and_double_nothing_on_postgres() {
    let server = PostgresServer::start().unwrap();
    let url = server.url("postgres");
    block_on(async { postgres(&server).await.pool().close().await });
    kill_workers(&url, 4, rounds(4));
    assert_each_once(&block_on(async { postgres_effects(&postgres(&server).await).await }));
}

/// The same on a file.
#[test]
fn killed_workers_lose_and_double_nothing_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inbox.db");
    block_on(async { sqlite(&path).await.pool().close().await });
    kill_workers(path.to_str().unwrap(), 2, rounds(4));
    assert_each_once(&block_on(async { sqlite_effects(&sqlite(&path).await).await }));
}

/// The process that the tests above start and kill: consumes the whole stream once. Without the
/// variable that says where, there is nothing to do.
#[test]
fn worker_process() {
    let Ok(database) = env::var(WORKER) else { return };
    let seed = env::var(SEED).unwrap().parse().unwrap();
    block_on(async {
        if database.starts_with("postgres://") {
            let store = PgStore::new(pool(PgConnectOptions::from_str(&database).unwrap()));
            deliver_all::<Postgres>(store, 4, seed, &AtomicBool::new(false)).await;
        } else {
            let store = SqliteStore::open(&database).await.unwrap();
            deliver_all::<Sqlite>(store, 4, seed, &AtomicBool::new(false)).await;
        }
    });
}

fn kill_workers(database: &str, processes: usize, rounds: u64) {
    let start = |seed: u64| -> Child {
        Command::new(env::current_exe().unwrap())
            .args(["worker_process", "--exact"])
            .env(WORKER, database)
            .env(SEED, seed.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut random = Random(11);
    let mut children: Vec<_> = (0..processes).map(|n| start(n as u64)).collect();
    let mut killed_at_work = 0;
    for _ in 0..rounds * 5 {
        std::thread::sleep(Duration::from_millis(20 + random.below(120)));
        let victim = usize::try_from(random.below(processes as u64)).unwrap();
        killed_at_work += u64::from(children[victim].try_wait().unwrap().is_none());
        children[victim].kill().unwrap();
        children[victim].wait().unwrap();
        children[victim] = start(random.below(u64::MAX));
    }
    assert!(killed_at_work > 0, "the workers were done before the first kill");
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
}

/// Delivers every message, thirty per cent of them twice and in another order for each seed, with so
/// many workers at once, until each was handled or recognised. Counts the ones handled here.
async fn deliver_all<H: Harness>(
    store: H::Store,
    workers: u64,
    seed: u64,
    gentle: &AtomicBool,
) -> u64 {
    let mut random = Random(seed);
    let deliveries = Arc::new(random.deliveries(MESSAGES, MESSAGES * 3 / 10));
    let next = Arc::new(AtomicU64::new(0));
    let gentle = gentle.load(Ordering::SeqCst);
    let tasks: Vec<_> = (0..workers)
        .map(|worker| {
            let (store, deliveries, next) = (store.clone(), deliveries.clone(), next.clone());
            tokio::spawn(worker_task::<H>(store, deliveries, next, seed ^ (worker << 32), gentle))
        })
        .collect();
    let mut handled = 0;
    for task in tasks {
        handled += task.await.unwrap();
    }
    handled
}

async fn worker_task<H: Harness>(
    store: H::Store,
    deliveries: Arc<Vec<u64>>,
    next: Arc<AtomicU64>,
    seed: u64,
    gentle: bool,
) -> u64 {
    let random = Arc::new(AtomicU64::new(seed));
    let service = InboxLayer::new("billing", store).dedup_by(|id: &u64| *id).layer(service_fn(
        move |received: Received<u64, H::Connection>| {
            let luck = Random(random.fetch_add(1, Ordering::Relaxed)).below(10);
            async move {
                let (message, mut tx) = received.into_parts();
                H::write(&mut tx, &message.to_string()).await.map_err(Failed)?;
                if luck == 0 { Err(Failed("bad luck".into())) } else { Ok(()) }
            }
        },
    ));
    let mut handled = 0;
    loop {
        let at = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
        let Some(&message) = deliveries.get(at) else { return handled };
        let began = Instant::now();
        loop {
            // An error of any kind: not acknowledged, so the broker delivers it again.
            match service.clone().oneshot(message).await {
                Ok(Outcome::Handled(())) => handled += 1,
                Ok(_) => {}
                Err(error) => {
                    assert!(began.elapsed() < Duration::from_secs(60), "{error:?}");
                    if !gentle {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    continue;
                }
            }
            break;
        }
    }
}

/// A handler's error.
#[derive(Debug)]
struct Failed(BoxError);

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Failed {}

async fn postgres(server: &PostgresServer) -> PgStore {
    let store = PgStore::new(pool(PgConnectOptions::from_str(&server.url("postgres")).unwrap()));
    store.schema().up().await.unwrap();
    sqlx::query("create table if not exists effect (name text not null)")
        .execute(store.pool())
        .await
        .unwrap();
    store
}

async fn sqlite(path: &Path) -> SqliteStore {
    let store = SqliteStore::open(path).await.unwrap();
    store.schema().up().await.unwrap();
    sqlx::query("create table if not exists effect (name text not null)")
        .execute(store.pool())
        .await
        .unwrap();
    store
}

fn pool(options: PgConnectOptions) -> sqlx::PgPool {
    PgPoolOptions::new()
        .max_connections(8)
        .acquire_timeout(Duration::from_secs(20))
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

const COUNTS: &str = "select name, count(*) from effect group by name";

async fn postgres_effects(store: &PgStore) -> Vec<(String, i64)> {
    sqlx::query_as(COUNTS).fetch_all(store.pool()).await.unwrap()
}

async fn sqlite_effects(store: &SqliteStore) -> Vec<(String, i64)> {
    sqlx::query_as(COUNTS).fetch_all(store.pool()).await.unwrap()
}

fn assert_each_once(effects: &[(String, i64)]) {
    let doubled: Vec<_> = effects.iter().filter(|(_, count)| *count != 1).collect();
    assert!(doubled.is_empty(), "doubled: {doubled:?}");
    assert_eq!(effects.len() as u64, MESSAGES, "lost");
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn rounds(a_tenth: u64) -> u64 {
    if env::var_os("TOWER_INBOX_LONG").is_some() { a_tenth * 10 } else { a_tenth }
}

const MESSAGES: u64 = 1500;
const WORKER: &str = "TOWER_INBOX_FAULT_DATABASE";
const SEED: &str = "TOWER_INBOX_FAULT_SEED";
