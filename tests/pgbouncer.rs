//! Through PgBouncer in transaction mode, where three sessions go from hand to hand between many
//! clients: every effect once, and no session kept from others.
//!
//! A tenth of the deliveries and kills by default, all with `TOWER_INBOX_LONG=1`.
#![cfg(all(feature = "postgres", feature = "testing", feature = "sqlite"))]

mod support;

use std::{
    collections::{BTreeMap, HashSet},
    env,
    future::poll_fn,
    net::Ipv4Addr,
    pin::pin,
    str::FromStr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool, Row,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use support::random::Random;
use tower::{Layer, ServiceExt, service_fn};
use tower_inbox::{
    BoxError, InboxLayer, Outcome,
    error::{StoreError, StoreErrorKind},
    inbox::{ByFields, InFlight, Leased, PgStore, Received},
};
use tower_inbox_servers::{DelayProxy, PgBouncer, PostgresServer};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn shared_sessions_lose_and_double_nothing() {
    let scene = Scene::start(3).await;
    scene.deliver_all(true).await;
    scene.assert_each_once();
    scene.assert_at_rest().await;
    assert!(scene.has_prepared().await, "the claim was never prepared");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn shared_sessions_without_prepared_claims_lose_and_double_nothing() {
    let scene = Scene::start(3).await;
    scene.deliver_all(false).await;
    scene.assert_each_once();
    scene.assert_at_rest().await;
    assert!(!scene.has_prepared().await);
}

/// Clients and server lose their connections at once, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_pgbouncer_loses_and_doubles_nothing() {
    let mut scene = Scene::start(3).await;
    let mut bouncer = scene.bouncer.take().unwrap();
    let workers = tokio::spawn(deliver_all(clients(&bouncer), true));
    let (mut kills, mut random) = (0, Random(3));
    while kills < long(3) && !workers.is_finished() {
        tokio::time::sleep(Duration::from_millis(100 + random.below(200))).await;
        bouncer = tokio::task::spawn_blocking(move || {
            bouncer.kill().unwrap();
            bouncer.start_again().unwrap();
            bouncer
        })
        .await
        .unwrap();
        kills += 1;
    }
    workers.await.unwrap();
    assert!(kills > 0, "the workers were done before the first kill");
    scene.bouncer = Some(bouncer);
    scene.assert_each_once();
    scene.assert_at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_flight_is_told_apart() {
    let scene = Scene::start(3).await;
    let pool = client(scene.bouncer(), 6);
    let (started, mut is_started) = tokio::sync::mpsc::channel(1);
    let finish = Arc::new(tokio::sync::Notify::new());
    let slow = layer(PgStore::new(pool.clone())).layer(service_fn({
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
    for wait in [Duration::ZERO, Duration::from_millis(50)] {
        let service = layer(PgStore::new(pool.clone()))
            .in_flight_wait(wait)
            .layer(service_fn(async |_: Received<u64, PgConnection>| Ok::<_, sqlx::Error>(())));
        // More of them than sessions that are left.
        let rivals: Vec<_> = (0..4).map(|_| tokio::spawn(service.clone().oneshot(7))).collect();
        for rival in rivals {
            let error = rival.await.unwrap().unwrap_err();
            assert!(error.is::<InFlight>(), "{error}");
        }
    }
    let patient = layer(PgStore::new(pool))
        .in_flight_wait(Duration::from_secs(20))
        .layer(service_fn(async |_: Received<u64, PgConnection>| Ok::<_, sqlx::Error>(())));
    let patient = tokio::spawn(patient.oneshot(7));
    tokio::time::sleep(Duration::from_millis(100)).await;
    finish.notify_one();
    assert_eq!(held.await.unwrap().unwrap(), Outcome::Handled(()));
    assert_eq!(patient.await.unwrap().unwrap(), Outcome::Duplicate);
    scene.assert_at_rest().await;
}

/// There is one session, so whoever is pinned to it keeps everybody out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_at_rest_keeps_no_session() {
    let scene = Scene::start(1).await;
    let clients: Vec<_> = (0..4).map(|_| client(scene.bouncer(), 1)).collect();
    for message in 0..200_usize {
        let store = PgStore::new(clients[message % 4].clone());
        let outcome = layer(store).layer(service_fn(write)).oneshot(message as u64 / 2).await;
        assert_eq!(outcome.unwrap().handled().is_some(), message % 2 == 0);
        let other = &clients[(message + 1) % 4];
        let asked = Instant::now();
        sqlx::raw_sql("select 1").execute(other).await.unwrap();
        assert!(asked.elapsed() < Duration::from_secs(2), "{message}");
    }
    scene.assert_at_rest().await;
}

/// A program that blocks on one message after the other runs the pool's tasks only while it does.
#[test]
fn a_runtime_that_nobody_drives_keeps_no_session() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let scene = runtime().block_on(Scene::start(1));
    let bouncer = scene.bouncer();
    let mine = runtime();
    let (service, slow) = mine.block_on(async {
        let layer = layer(PgStore::new(client(bouncer, 2)));
        let slow = layer.layer(service_fn(async |received: Received<u64, PgConnection>| {
            write(received).await?;
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok::<_, sqlx::Error>(())
        }));
        (layer.layer(service_fn(write)), slow)
    });
    for message in 0..5 {
        let outcome = mine.block_on(service.clone().oneshot(message)).unwrap();
        assert_eq!(outcome, Outcome::Handled(()));
        // Nobody drives `mine` now.
        assert_eq!(scene.server.psql(&bouncer.url("postgres"), "select 1").unwrap(), "1");

        let limit = Duration::from_millis(100);
        let dropped = mine.block_on(async {
            tokio::time::timeout(limit, slow.clone().oneshot(100 + message)).await
        });
        assert!(dropped.is_err());
        assert_eq!(scene.server.psql(&bouncer.url("postgres"), "select 1").unwrap(), "1");
        let elsewhere = runtime().block_on(async {
            layer(PgStore::new(client(bouncer, 1)))
                .layer(service_fn(write))
                .oneshot(100 + message)
                .await
        });
        assert_eq!(elsewhere.unwrap(), Outcome::Handled(()));
    }
    runtime().block_on(scene.assert_at_rest());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn leases_work_with_and_without_prepared_statements() {
    let scene = Scene::start(3).await;
    for prepared in [true, false] {
        let consumer = format!("billing, prepared {prepared}: it's \\ \"quoted\" $1");
        let done = Arc::new(Mutex::new(BTreeMap::<u64, Vec<i64>>::new()));
        let failures = Arc::new(AtomicU64::new(0));
        let deliveries = Arc::new(Random(5).deliveries(500, 300));
        let next = Arc::new(AtomicU64::new(0));
        let workers: Vec<_> = clients(scene.bouncer())
            .into_iter()
            .flat_map(|pool| vec![pool; WORKERS_PER_CLIENT])
            .map(|pool| {
                let done = Arc::clone(&done);
                let failures = Arc::clone(&failures);
                let service = InboxLayer::new(&*consumer, PgStore::new(pool).prepared(prepared))
                    .dedup_by(|message: &u64| *message)
                    .leased(Duration::from_secs(60))
                    .owner("worker 'seven' \\ $2")
                    .layer(service_fn(move |leased: Leased<u64>| {
                        let (done, failures) = (Arc::clone(&done), Arc::clone(&failures));
                        async move {
                            let lease = leased.lease.unwrap();
                            lease.extend(Duration::from_secs(70)).await.map_err(Failed)?;
                            if lease.attempt() == 1 && leased.message % 10 == 3 {
                                failures.fetch_add(1, Ordering::Relaxed);
                                return Err(Failed("bad luck".into()));
                            }
                            let mut done = done.lock().unwrap();
                            done.entry(leased.message).or_default().push(lease.token());
                            Ok(())
                        }
                    }));
                let (deliveries, next) = (Arc::clone(&deliveries), Arc::clone(&next));
                tokio::spawn(async move {
                    while let Some(message) = take(&deliveries, &next) {
                        let began = Instant::now();
                        while let Err(error) = service.clone().oneshot(message).await {
                            let expected =
                                error.is::<InFlight>() || error.to_string() == "bad luck";
                            assert!(expected, "{error:?}");
                            assert!(began.elapsed() < Duration::from_secs(60), "{error:?}");
                            tokio::time::sleep(Duration::from_millis(2)).await;
                        }
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
        let done = done.lock().unwrap();
        assert_eq!(done.len(), 500);
        assert!(done.values().all(|tokens| tokens.len() == 1), "{done:?}");
        let tokens: HashSet<_> = done.values().flatten().collect();
        assert_eq!(tokens.len(), 500, "a token was given out twice");
        assert_eq!(failures.load(Ordering::Relaxed), 50);
    }
    let owners = "select count(*) from tower_inbox.lease";
    assert_eq!(scene.ask(owners), "0", "every lease was completed");
    scene.assert_at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sweepers_remove_what_has_expired_and_nothing_else() {
    let scene = Scene::start(3).await;
    let store = PgStore::new(client(scene.bouncer(), 6));
    let service = layer(store.clone()).layer(service_fn(write));
    for message in 0..300 {
        assert_eq!(service.clone().oneshot(message).await.unwrap(), Outcome::Handled(()));
    }
    scene.ask("update tower_inbox.inbox set expires_at = 0");
    let sweepers: Vec<_> = (0..4)
        .map(|_| {
            let store = PgStore::new(client(scene.bouncer(), 1));
            tokio::spawn(async move { store.sweeper().sweep().await.unwrap() })
        })
        .collect();
    for message in 1000..1300 {
        assert_eq!(service.clone().oneshot(message).await.unwrap(), Outcome::Handled(()));
    }
    let mut removed = 0;
    for sweeper in sweepers {
        removed += sweeper.await.unwrap();
    }
    assert_eq!(removed, 300);
    assert_eq!(scene.ask("select count(*) from tower_inbox.inbox"), "300");

    // And by itself, round after round.
    scene.ask("update tower_inbox.inbox set expires_at = 0");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let sweeper = store.sweeper().every(Duration::from_secs(1));
    let running = tokio::spawn(sweeper.run(async { stopped.await.unwrap_or(()) }));
    let deadline = Instant::now() + Duration::from_secs(20);
    while scene.ask("select count(*) from tower_inbox.inbox") != "0" {
        assert!(Instant::now() < deadline, "the sweeper removed nothing");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(stop);
    running.await.unwrap();
    scene.assert_at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_processes_migrate_at_once_and_leave_no_lock() {
    let scene = Scene::start(3).await;
    let store = || PgStore::new(client(scene.bouncer(), 1));
    store().schema().down(0).await.unwrap();
    for _ in 0..5 {
        let migrations: Vec<_> = (0..8)
            .map(|_| {
                let store = store();
                tokio::spawn(async move { store.schema().up().await })
            })
            .collect();
        for migration in migrations {
            migration.await.unwrap().unwrap();
        }
        layer(store()).prepare().await.unwrap();
        store().schema().down(0).await.unwrap();
        assert_eq!(store().schema().version().await.unwrap(), None);
    }
    scene.assert_at_rest().await;
}

/// What `docs/postgres.md` warns of. A handler's statements are not ours: sqlx prepares them by
/// name, each client counting from one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn named_statements_of_a_handler_fail_and_lose_nothing() {
    for capacity in [100, 0] {
        let scene = Scene::start_forgetful(1).await;
        let named = |mut received: Received<u64, PgConnection>| async move {
            sqlx::query(INSERT)
                .bind(received.message.cast_signed())
                .execute(&mut *received.tx)
                .await
                .map(drop)
        };
        let service = || {
            let options = PgConnectOptions::from_str(&scene.bouncer().url("postgres")).unwrap();
            let pool = pool_of(options.statement_cache_capacity(capacity), 1);
            layer(PgStore::new(pool)).layer(service_fn(named))
        };
        let (first, second) = (service(), service());
        assert_eq!(first.oneshot(1).await.unwrap(), Outcome::Handled(()), "{capacity}");
        let error = second.oneshot(2).await.unwrap_err();
        assert!(error.to_string().contains("already exists"), "{capacity}: {error}");

        let unnamed = layer(PgStore::new(client(scene.bouncer(), 1))).layer(service_fn(write));
        assert_eq!(unnamed.oneshot(2).await.unwrap(), Outcome::Handled(()), "{capacity}");
        assert_eq!(scene.ask(DOUBLED), "", "{capacity}");
        assert_eq!(scene.ask("select count(*) from effect"), "2", "{capacity}");
    }
}

/// Worse than an error: the other client's statement is executed, and the inbox commits it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn named_statements_of_two_clients_may_be_mixed_up() {
    let scene = Scene::start_forgetful(2).await;
    scene.ask("create table other (message int8)");
    let (mut first, mut second) = (scene.connect().await, scene.connect().await);
    let mut keeper = scene.connect().await;
    let other = "insert into other (message) values ($1)";
    // Each client prepares its first statement in a session of its own …
    let mut first_tx = first.begin().await.unwrap();
    sqlx::query(INSERT).bind(1_i64).execute(&mut *first_tx).await.unwrap();
    let mut second_tx = second.begin().await.unwrap();
    sqlx::query(other).bind(1_i64).execute(&mut *second_tx).await.unwrap();
    // … of which the first's is the only one that is free when the second comes again.
    second_tx.commit().await.unwrap();
    let keeper_tx = keeper.begin().await.unwrap();
    first_tx.commit().await.unwrap();
    let mut second_tx = second.begin().await.unwrap();
    sqlx::query(other).bind(2_i64).execute(&mut *second_tx).await.unwrap();
    second_tx.commit().await.unwrap();
    keeper_tx.rollback().await.unwrap();
    let there = |table| scene.ask(&format!("select message from {table} where message = 2"));
    assert_eq!((there("effect"), there("other")), ("2".to_owned(), String::new()));
}

/// Without a name, and outside of a transaction: parsed in one message, executed in the next, and
/// between the two the session is somebody else's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unnamed_statement_outside_of_a_transaction_may_be_mixed_up() {
    let scene = Scene::start(1).await;
    let network = Duration::from_millis(100);
    let bouncer = (Ipv4Addr::LOCALHOST, scene.bouncer().port()).into();
    let far = DelayProxy::start(bouncer, network).unwrap();
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", far.port());
    let mut far = PgConnection::connect(&url).await.unwrap();
    let ask = |number: &'static str| {
        let sql = format!("select {number}::int8 where $1");
        sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql)).persistent(false).bind(true)
    };
    let mut near = scene.connect().await;
    let question = tokio::spawn(async move { ask("1").fetch_one(&mut far).await.unwrap() });
    // Each of them may get the other's answer; the far one leaves more time for it.
    let mut mixed_up = false;
    while !question.is_finished() {
        mixed_up |= ask("2").fetch_one(&mut near).await.unwrap() != 2;
    }
    mixed_up |= question.await.unwrap() != 1;
    assert!(mixed_up);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_waits_too_long_for_a_session_comes_again() {
    let scene = Scene::start_with(1, &[("query_wait_timeout", "1")]).await;
    let service = layer(PgStore::new(client(scene.bouncer(), 2))).layer(service_fn(write));
    assert_eq!(service.clone().oneshot(1).await.unwrap(), Outcome::Handled(()));
    let mut keeper = scene.connect().await;
    let keeper = keeper.begin().await.unwrap();
    let error = service.clone().oneshot(2).await.unwrap_err();
    let error = error.downcast_ref::<StoreError>().unwrap();
    assert_eq!(error.kind(), StoreErrorKind::Unreachable, "{error:?}");
    keeper.rollback().await.unwrap();
    assert_eq!(service.oneshot(2).await.unwrap(), Outcome::Handled(()));
    scene.assert_at_rest().await;
}

/// A server, PgBouncer before it, and the tables.
struct Scene {
    server: PostgresServer,
    bouncer: Option<PgBouncer>,
}

impl Scene {
    async fn start(sessions: u32) -> Self {
        Self::start_with(sessions, &[]).await
    }

    /// With a PgBouncer that knows nothing of prepared statements, as all before 1.21.
    async fn start_forgetful(sessions: u32) -> Self {
        let scene = Self::start(sessions).await;
        let settings = scene.bouncer().show("config").unwrap();
        if settings.iter().any(|setting| setting["key"] == "max_prepared_statements") {
            Self::start_with(sessions, &[("max_prepared_statements", "0")]).await
        } else {
            scene
        }
    }

    async fn start_with(sessions: u32, settings: &[(&str, &str)]) -> Self {
        let server = PostgresServer::start().unwrap();
        let pool = pool_of(PgConnectOptions::from_str(&server.url("postgres")).unwrap(), 1);
        let store = PgStore::new(pool);
        store.schema().up().await.unwrap();
        sqlx::raw_sql("create table effect (message int8)").execute(store.pool()).await.unwrap();
        store.pool().close().await;
        // Who waits for a session that is not given back shall hear of it.
        let bouncer = PgBouncer::builder(server.port())
            .pool_size(sessions)
            .setting("query_wait_timeout", "10");
        let bouncer = settings
            .iter()
            .fold(bouncer, |bouncer, (name, value)| bouncer.setting(*name, *value))
            .start()
            .unwrap();
        Self { server, bouncer: Some(bouncer) }
    }

    fn bouncer(&self) -> &PgBouncer {
        self.bouncer.as_ref().unwrap()
    }

    /// Asks the server itself.
    fn ask(&self, sql: &str) -> String {
        self.server.psql(&self.server.url("postgres"), sql).unwrap()
    }

    /// A client of PgBouncer.
    async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.bouncer().url("postgres")).await.unwrap()
    }

    async fn deliver_all(&self, prepared: bool) {
        let pools = clients(self.bouncer());
        deliver_all(pools.clone(), prepared).await;
        let sessions = self.bouncer().show("servers").unwrap().len();
        let clients = self.bouncer().show("clients").unwrap().len();
        assert!(clients >= 3 * sessions, "{clients} clients did not share {sessions} sessions");
    }

    /// Whether any of the three sessions keeps a statement of ours.
    async fn has_prepared(&self) -> bool {
        let sql = "select count(*) from pg_prepared_statements where name like 'tower_inbox_%'";
        let pool = client(self.bouncer(), 3);
        let (mut kept, mut open) = (0_i64, Vec::new());
        for _ in 0..3 {
            let mut tx = pool.begin().await.unwrap();
            kept += sqlx::raw_sql(sql).fetch_one(&mut *tx).await.unwrap().get::<i64, _>(0);
            open.push(tx);
        }
        kept > 0
    }

    fn assert_each_once(&self) {
        assert_eq!(self.ask(DOUBLED), "", "doubled");
        assert_eq!(self.ask("select count(*) from effect"), messages().to_string(), "lost");
        let claims = self.ask("select count(*) from tower_inbox.inbox");
        assert_eq!(claims, messages().to_string(), "claims without effect");
    }

    /// No session is in a transaction, holds a lock, or is kept by a client.
    async fn assert_at_rest(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let busy = self.ask(
                "select state, query from pg_stat_activity \
                 where backend_type = 'client backend' and pid <> pg_backend_pid() \
                   and state <> 'idle' \
                 union all \
                 select 'lock', mode from pg_locks where locktype = 'advisory'",
            );
            let servers = self.bouncer().show("servers").unwrap();
            let taken: Vec<_> =
                servers.iter().filter(|server| server["state"] == "active").collect();
            let pools = self.bouncer().show("pools").unwrap();
            let waiting: Vec<_> = pools.iter().filter(|pool| pool["cl_waiting"] != "0").collect();
            if busy.is_empty() && taken.is_empty() && waiting.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{busy}\n{taken:?}\n{waiting:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Pools of as many processes.
fn clients(bouncer: &PgBouncer) -> Vec<PgPool> {
    (0..CLIENTS).map(|_| client(bouncer, 6)).collect()
}

fn client(bouncer: &PgBouncer, connections: u32) -> PgPool {
    let options = PgConnectOptions::from_str(&bouncer.url("postgres")).unwrap();
    pool_of(options, connections)
}

fn pool_of(options: PgConnectOptions, connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(20))
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

/// Delivers every message, half of them twice, until each was handled or recognised. One handler in
/// ten fails after its write, and one delivery in five is dropped at one of its awaits.
async fn deliver_all(clients: Vec<PgPool>, prepared: bool) {
    let deliveries = Arc::new(Random(1).deliveries(messages(), messages() / 2));
    let next = Arc::new(AtomicU64::new(0));
    let mut workers = Vec::new();
    for (client, pool) in clients.into_iter().enumerate() {
        for worker in 0..WORKERS_PER_CLIENT {
            let store = PgStore::new(pool.clone()).prepared(prepared);
            let seed = (client * WORKERS_PER_CLIENT + worker) as u64;
            let (deliveries, next) = (Arc::clone(&deliveries), Arc::clone(&next));
            workers.push(tokio::spawn(work(store, deliveries, next, seed << 32)));
        }
    }
    let (mut failed, mut dropped) = (0, 0);
    for worker in workers {
        let (its_failed, its_dropped) = worker.await.unwrap();
        failed += its_failed;
        dropped += its_dropped;
    }
    assert!(failed > messages() / 20, "only {failed} handlers failed");
    assert!(dropped > messages() / 20, "only {dropped} deliveries were dropped");
}

async fn work(
    store: PgStore,
    deliveries: Arc<Vec<u64>>,
    next: Arc<AtomicU64>,
    seed: u64,
) -> (u64, u64) {
    let failed = Arc::new(AtomicU64::new(0));
    let service = layer(store).layer(service_fn({
        let (failed, luck) = (Arc::clone(&failed), Arc::new(AtomicU64::new(seed)));
        move |received: Received<u64, PgConnection>| {
            let (failed, luck) = (Arc::clone(&failed), luck.fetch_add(1, Ordering::Relaxed));
            async move {
                write(received).await.map_err(|error| Failed(error.into()))?;
                if Random(luck).below(10) == 0 {
                    failed.fetch_add(1, Ordering::Relaxed);
                    return Err(Failed("bad luck".into()));
                }
                Ok(())
            }
        }
    }));
    let mut random = Random(!seed);
    let mut dropped = 0;
    while let Some(message) = take(&deliveries, &next) {
        let began = Instant::now();
        loop {
            let delivery = service.clone().oneshot(message);
            let polls = if random.below(5) == 0 { 1 + random.below(12) } else { u64::MAX };
            match at_most(polls, delivery).await {
                Some(Ok(_)) => break,
                // An error of any kind: not acknowledged, so the broker delivers it again.
                Some(Err(error)) => {
                    assert!(began.elapsed() < Duration::from_secs(60), "{error:?}");
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                None => dropped += 1,
            }
        }
    }
    (failed.load(Ordering::Relaxed), dropped)
}

fn take(deliveries: &[u64], next: &AtomicU64) -> Option<u64> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    deliveries.get(usize::try_from(at).unwrap()).copied()
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

/// Drops the future when it is not done after so many polls.
async fn at_most<F: Future>(polls: u64, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// What a handler behind PgBouncer does: a statement without a name, in the transaction.
async fn write(mut received: Received<u64, PgConnection>) -> Result<(), sqlx::Error> {
    let message = received.message.cast_signed();
    let written: i64 = sqlx::query("insert into effect (message) values ($1) returning message")
        .persistent(false)
        .bind(message)
        .fetch_one(&mut *received.tx)
        .await?
        .try_get(0)?;
    assert_eq!(written, message);
    Ok(())
}

fn layer(store: PgStore) -> InboxLayer<PgStore, ById> {
    let id: fn(&u64) -> u64 = |id| *id;
    InboxLayer::new("billing", store).dedup_by(id)
}

type ById = ByFields<fn(&u64) -> u64, u64>;

fn messages() -> u64 {
    long(1000)
}

fn long(a_tenth: u64) -> u64 {
    if env::var_os("TOWER_INBOX_LONG").is_some() { a_tenth * 10 } else { a_tenth }
}

const CLIENTS: usize = 4;
const WORKERS_PER_CLIENT: usize = 6;
const INSERT: &str = "insert into effect (message) values ($1)";
const DOUBLED: &str = "select message, count(*) from effect group by message having count(*) > 1";
