//! Batches from many tasks and processes at once, with the same messages in opposite orders, handlers
//! that fail, futures that are dropped, connections that break, workers killed with -9: every effect is
//! there exactly once, counted in the database, and nobody deadlocks.
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
use support::harness::{Postgres, Sqlite};
use tower::{Layer, ServiceExt, service_fn};
use tower_inbox::inbox::store::BatchStore;
use tower_inbox::{
    BoxError, InboxLayer,
    inbox::{DeadLetterPolicy, PgStore, Received, SqliteStore, store::PoisonStore},
    testing::Harness,
};
use tower_inbox_servers::PostgresServer;

/// Eight tasks with overlapping batches, every second one backwards; one call in forty fails,
/// one call in ten is dropped under way, and five times a second the server ends a session.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn overlapping_batches_take_effect_once_on_postgres() {
    let server = PostgresServer::start().unwrap();
    let store = postgres(&server.url("postgres")).await;
    let done = Arc::new(AtomicBool::new(false));
    let executioner = tokio::spawn({
        let (pool, done) = (store.pool().clone(), Arc::clone(&done));
        async move {
            let mut ended = 0;
            while !done.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(200)).await;
                let count: Result<i64, _> =
                    sqlx::query_scalar(END_A_SESSION).fetch_one(&pool).await;
                ended += count.unwrap_or(0);
            }
            ended
        }
    });
    deliver_all::<Postgres>(store.clone(), 8, 1).await;
    done.store(true, Ordering::SeqCst);
    assert!(executioner.await.unwrap() > 0, "no session was ended");
    let effects: Vec<(String, i64)> = sqlx::query_as(COUNTS).fetch_all(store.pool()).await.unwrap();
    assert_each_once(&effects);
    // The statistics of a session arrive a little later.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let deadlocks: i64 = sqlx::query_scalar(
        "select deadlocks from pg_stat_database where datname = current_database()",
    )
    .fetch_one(store.pool())
    .await
    .unwrap();
    assert_eq!(deadlocks, 0);
}

/// The same on a file.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn overlapping_batches_take_effect_once_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite(&folder.path().join("inbox.db")).await;
    deliver_all::<Sqlite>(store.clone(), 8, 1).await;
    let effects: Vec<(String, i64)> = sqlx::query_as(COUNTS).fetch_all(store.pool()).await.unwrap();
    assert_each_once(&effects);
}

/// Processes that consume the same stream in batches are killed at random moments and started again.
#[test]
fn killed_workers_lose_and_double_nothing_on_postgres() {
    let server = PostgresServer::start().unwrap();
    let url = server.url("postgres");
    block_on(async { postgres(&url).await.pool().close().await });
    kill_workers(&url, 3, rounds(20));
    let effects = block_on(async {
        let store = postgres(&url).await;
        sqlx::query_as(COUNTS).fetch_all(store.pool()).await.unwrap()
    });
    assert_each_once(&effects);
}

/// The same on a file.
#[test]
fn killed_workers_lose_and_double_nothing_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inbox.db");
    block_on(async { sqlite(&path).await.pool().close().await });
    kill_workers(path.to_str().unwrap(), 2, rounds(20));
    let effects = block_on(async {
        let store = sqlite(&path).await;
        sqlx::query_as(COUNTS).fetch_all(store.pool()).await.unwrap()
    });
    assert_each_once(&effects);
}

/// The process that the tests above start and kill: consumes the whole stream once. Without the
/// variable that says where, there is nothing to do.
#[test]
fn worker_process() {
    let Ok(database) = env::var(WORKER) else { return };
    let seed = env::var(SEED).unwrap().parse().unwrap();
    block_on(async {
        if database.starts_with("postgres://") {
            let store = PgStore::new(pool(&database));
            deliver_all::<Postgres>(store, 3, seed).await;
        } else {
            let store = SqliteStore::open(&database).await.unwrap();
            deliver_all::<Sqlite>(store, 3, seed).await;
        }
    });
}

fn kill_workers(database: &str, processes: usize, kills: u64) {
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
    for _ in 0..kills {
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

/// Every worker delivers every message, in batches, from its own place in the stream on and every
/// second one backwards, until each was handled or recognised.
async fn deliver_all<H: Harness>(store: H::Store, workers: u64, seed: u64)
where
    H::Store: BatchStore + PoisonStore,
{
    let tasks: Vec<_> = (0..workers)
        .map(|worker| tokio::spawn(worker_task::<H>(store.clone(), worker, seed)))
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn worker_task<H: Harness>(store: H::Store, worker: u64, seed: u64)
where
    H::Store: BatchStore + PoisonStore,
{
    let mut random = Random(seed ^ (worker << 32));
    let luck = Arc::new(AtomicU64::new(random.below(u64::MAX)));
    let service = InboxLayer::new("billing", store)
        .dedup_by(|id: &u64| *id)
        // What fails is set aside, and nothing fails a hundred times.
        .dead_letters(DeadLetterPolicy::after(100))
        .in_flight_wait(Duration::from_millis(10))
        .batched()
        .at_most(24)
        .layer(service_fn(move |received: Received<Vec<u64>, H::Connection>| {
            let luck = Random(luck.fetch_add(1, Ordering::Relaxed)).below(40);
            async move {
                let (messages, mut tx) = received.into_parts();
                for message in messages {
                    H::write(&mut tx, &message.to_string()).await.map_err(Failed)?;
                }
                if luck == 0 { Err(Failed("bad luck".into())) } else { Ok(()) }
            }
        }));
    let mut left: Vec<u64> =
        (0..MESSAGES).map(|at| (at + worker * 37 + seed % MESSAGES) % MESSAGES).collect();
    if worker % 2 == 1 {
        left.reverse();
    }
    let began = Instant::now();
    while !left.is_empty() {
        assert!(began.elapsed() < Duration::from_secs(120), "{} messages are left", left.len());
        let batch: Vec<u64> = left.iter().copied().take(30).collect();
        let delivery = service.clone().oneshot(batch.clone());
        let outcomes = if random.below(10) == 0 {
            let patience = Duration::from_micros(random.below(20_000));
            match tokio::time::timeout(patience, delivery).await {
                Ok(outcomes) => outcomes.unwrap(),
                Err(_) => continue,
            }
        } else {
            delivery.await.unwrap()
        };
        // An error of any kind: not acknowledged, so the broker delivers it again, later.
        let done: Vec<u64> = batch
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| outcome.is_ok())
            .map(|(message, _)| *message)
            .collect();
        left.retain(|message| !done.contains(message));
        if done.is_empty() {
            let third = left.len() / 3;
            left.rotate_left(third);
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

async fn postgres(url: &str) -> PgStore {
    let store = PgStore::new(pool(url));
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

fn pool(url: &str) -> sqlx::PgPool {
    PgPoolOptions::new()
        .max_connections(10)
        .acquire_timeout(Duration::from_secs(20))
        .test_before_acquire(false)
        .connect_lazy_with(PgConnectOptions::from_str(url).unwrap())
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

/// SplitMix64: <https://prng.di.unimi.it/splitmix64.c>
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

const MESSAGES: u64 = 400;
const WORKER: &str = "TOWER_INBOX_BATCH_FAULT_DATABASE";
const SEED: &str = "TOWER_INBOX_BATCH_FAULT_SEED";
const COUNTS: &str = "select name, count(*) from effect group by name";
/// One session with a transaction open, whichever has had it for longest.
const END_A_SESSION: &str = "
    with victim as (
        select pid
        from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null
        order by xact_start
        limit 1
    )
    select count(*) from victim where pg_terminate_backend(pid)";
