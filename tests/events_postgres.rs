//! Events in PostgreSQL: the conformance suite in both modes, several processes, a server that crashes,
//! PgBouncer, and what is said when something is not right.
#![cfg(all(feature = "events", feature = "postgres", feature = "sqlite", feature = "testing"))]

mod support;

use std::{
    collections::{BTreeMap, HashSet},
    error::Error,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use support::random::Random;
use tower_inbox::{
    events::{
        ClaimToken, Claimed, DeduplicationConfig, EventDeduplicator, EventIdExtractor, EventIds,
        EventWindow, EventsErrorKind,
        backend::{BackendError, ClaimAnswer, EventBackend, PgBackend},
    },
    hook::BoxFuture,
    testing::EventHarness,
};
use tower_inbox_servers::{PgBouncer, PostgresServer};

mod compact {
    use sqlx::PgPool;

    use crate::Postgres;

    tower_inbox::events_conformance!(
        #[sqlx::test(migrations = false)] (pool: PgPool) => Postgres::start(pool, true).await
    );
}

mod exact {
    use sqlx::PgPool;

    use crate::Postgres;

    tower_inbox::events_conformance!(
        #[sqlx::test(migrations = false)] (pool: PgPool) => Postgres::start(pool, false).await
    );
}

#[sqlx::test(migrations = false)]
async fn missing_tables_are_said_so(pool: PgPool) {
    let backend = PgBackend::new(pool.clone(), "payments");
    for error in [
        backend.prepare().await.unwrap_err(),
        backend.mark(&ids(&["a"]), &EventWindow::default()).await.unwrap_err(),
        backend.health().await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), EventsErrorKind::NotMigrated);
        let reason = error.source().unwrap().to_string();
        assert!(reason.contains("tower-inbox migrate"), "{reason}");
    }
    backend.schema().up().await.unwrap();
    assert_eq!(mark(&backend, &["a"]).await, [true]);

    backend.schema().down(BEFORE_EVENTS).await.unwrap();
    let error = backend.mark(&ids(&["a"]), &EventWindow::default()).await.unwrap_err();
    assert_eq!(error.kind(), EventsErrorKind::NotMigrated, "they were there a moment ago");
    assert!(error.source().unwrap().to_string().contains("tower-inbox migrate"));
    backend.schema().up().await.unwrap();
    let another = PgBackend::new(pool.clone(), "another");
    assert_eq!(mark(&another, &["a"]).await, [true], "it takes the number that was ours");
    assert_eq!(mark(&backend, &["a"]).await, [true], "and is told apart");
    let later = PgBackend::new(pool, "payments");
    assert_eq!(mark(&later, &["a"]).await, [false], "who was there before knows the new secret");
}

#[sqlx::test(migrations = false)]
async fn namespaces_are_kept_apart(pool: PgPool) {
    let payments = migrated(pool.clone(), "payments").await;
    let letters = PgBackend::new(pool, "letters, it's \\ \"another\" $1");
    assert_eq!(mark(&payments, &["a"]).await, [true]);
    assert_eq!(mark(&letters, &["a", "b"]).await, [true, true]);
    letters.clear().await.unwrap();
    assert_eq!(mark(&payments, &["a"]).await, [false]);
    assert_eq!(mark(&letters, &["a"]).await, [true]);
}

#[sqlx::test(migrations = false)]
async fn a_namespace_has_one_mode(pool: PgPool) {
    let compact = migrated(pool.clone(), "payments").await;
    compact.prepare().await.unwrap();
    let exact = compact.clone().compress_event_ids(false);
    let error = exact.mark(&ids(&["a"]), &EventWindow::default()).await.unwrap_err();
    assert_eq!(error.kind(), EventsErrorKind::Config);
    assert!(error.source().unwrap().to_string().contains("keeps compact ids"));
}

/// Nobody can find two such ids, so the table is changed by hand.
#[sqlx::test(migrations = false)]
async fn two_exact_ids_with_one_signature_are_an_error(pool: PgPool) {
    let exact = migrated(pool.clone(), "payments").await.compress_event_ids(false);
    assert_eq!(mark(&exact, &["a"]).await, [true]);
    let kept: Vec<u8> =
        sqlx::query_scalar("select exact from tower_inbox.event").fetch_one(&pool).await.unwrap();
    assert_eq!(kept, b"a");
    sqlx::query("update tower_inbox.event set exact = 'b'").execute(&pool).await.unwrap();
    let (a, window, token) =
        (ids(&["a"]), EventWindow::default(), [ClaimToken::from_bytes([1; 16])]);
    for error in [
        exact.look(&a).await.unwrap_err(),
        exact.mark(&a, &window).await.unwrap_err(),
        exact.claim(&a, &token, Duration::from_secs(9)).await.unwrap_err(),
        exact.confirm(&a, &token, &window).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), EventsErrorKind::Other);
        assert!(error.source().unwrap().to_string().contains("one signature"));
    }
    // What is forgotten is in nobody's way.
    sqlx::query("update tower_inbox.event set expires_at = 1").execute(&pool).await.unwrap();
    assert_eq!(mark(&exact, &["a"]).await, [true]);
    assert_eq!(mark(&exact, &["a"]).await, [false]);
}

#[sqlx::test(migrations = false)]
async fn what_is_over_is_swept_and_nothing_else(pool: PgPool) {
    let backend = migrated(pool.clone(), "payments").await;
    let (long, short) = (EventWindow::default(), short());
    let names: Vec<String> = (0..20_000).map(|n| format!("event {n}")).collect();
    let all: EventIds = names.iter().map(|name| name.as_bytes()).collect();
    backend.mark(&all, &short).await.unwrap();
    assert_eq!(mark(&backend, &["stays"]).await, [true]);
    let token = |n| [ClaimToken::from_bytes([n; 16])];
    let claim = async |name: &str, n, lease: u64| {
        let lease = Duration::from_millis(lease);
        backend.claim(&ids(&[name]), &token(n), lease).await.unwrap()[0]
    };
    assert_eq!(claim("held", 1, 60_000).await, ClaimAnswer::Claimed);
    assert_eq!(claim("lost", 2, 10).await, ClaimAnswer::Claimed);
    assert_eq!(claim("given up", 3, 60_000).await, ClaimAnswer::Claimed);
    assert_eq!(backend.release(&ids(&["given up"]), &token(3)).await.unwrap(), [true]);
    // What a process leaves that was marking while another one cleared.
    sqlx::query(
        "insert into tower_inbox.event (expires_at, id, namespace) \
         values (9e18, gen_random_uuid(), 12345)",
    )
    .execute(&pool)
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;

    // Two at once share the work.
    let sweepers = [backend.clone(), PgBackend::new(pool.clone(), "another")]
        .map(|backend| tokio::spawn(async move { backend.sweep().await.unwrap() }));
    let mut removed = 0;
    for sweeper in sweepers {
        removed += sweeper.await.unwrap();
    }
    // Some may have gone along with the marks.
    assert!(removed > 10_000, "{removed}");
    assert_eq!(rows(&pool).await, 2);
    assert_eq!(mark(&backend, &["stays"]).await, [false]);
    assert_eq!(claim("held", 4, 60_000).await, ClaimAnswer::InFlight);
    assert_eq!(backend.confirm(&ids(&["held"]), &token(1), &long).await.unwrap(), [true]);
}

/// With a window of 100 ms, events come for two seconds, and nobody calls for the sweep.
#[sqlx::test(migrations = false)]
async fn the_table_does_not_grow_with_the_events(pool: PgPool) {
    let backend = migrated(pool.clone(), "payments").await;
    let window = EventWindow::new(Duration::from_millis(100)).unwrap();
    let began = Instant::now();
    let (mut marked, mut most, mut left) = (0_i64, 0, 0);
    while began.elapsed() < Duration::from_secs(3) || marked < 40_000 {
        let names: Vec<String> = (marked..marked + 500).map(|n| n.to_string()).collect();
        let batch: EventIds = names.iter().map(|name| name.as_bytes()).collect();
        assert_eq!(backend.mark(&batch, &window).await.unwrap(), [true; 500]);
        marked += 500;
        left = rows(&pool).await;
        most = most.max(left);
    }
    assert!(most < marked * 3 / 4, "{most} rows were kept of {marked}, {left} at the end");
}

#[sqlx::test(migrations = false)]
async fn clearing_removes_the_rows(pool: PgPool) {
    let backend = migrated(pool.clone(), "payments").await;
    let another = PgBackend::new(pool.clone(), "another");
    assert_eq!(mark(&another, &["a", "b"]).await, [true, true]);
    let names: Vec<String> = (0..7_000).map(|n| n.to_string()).collect();
    let all: EventIds = names.iter().map(|name| name.as_bytes()).collect();
    backend.mark(&all, &EventWindow::forever()).await.unwrap();
    backend.clear().await.unwrap();
    assert_eq!(rows(&pool).await, 2);
}

#[sqlx::test(migrations = false)]
async fn health_tells_what_is_known(pool: PgPool) {
    let backend = migrated(pool.clone(), "payments").await;
    mark(&backend, &["a", "b"]).await;
    sqlx::query("analyze tower_inbox.event").execute(&pool).await.unwrap();
    let health = backend.health().await.unwrap();
    assert!(health.is_healthy(), "{health:?}");
    assert!(health.ping > Duration::ZERO);
    assert_eq!(health.facts["rows"], "about 2");
    assert_eq!(health.facts["namespace"], "payments");
    assert!(health.facts["version"].starts_with(|first: char| first.is_ascii_digit()));
    let difference = health.facts["clock_difference"].strip_suffix("ms").unwrap();
    assert!(difference.parse::<i64>().unwrap().abs() < 2_000, "{difference}");
    let traffic = backend.traffic();
    assert!(traffic.written > 100 && traffic.read > 0, "{traffic:?}");

    let sql = format!(
        "alter database \"{}\" set default_transaction_read_only = on",
        pool.connect_options().get_database().unwrap()
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&pool).await.unwrap();
    let replica = PgBackend::new(lazy((*pool.connect_options()).clone(), 1), "payments");
    let health = replica.health().await.unwrap();
    assert!(health.problems[0].contains("takes no writes"), "{health:?}");
    let error = replica.mark(&ids(&["c"]), &EventWindow::default()).await.unwrap_err();
    assert_eq!(error.kind(), EventsErrorKind::Busy, "as while it fails over");
}

/// A host whose own `begin` was dropped leaves a transaction in a session of the pool.
#[sqlx::test(migrations = false)]
async fn a_transaction_that_was_left_open_takes_no_marks_along(pool: PgPool) {
    migrated(pool.clone(), "payments").await;
    let one = lazy((*pool.connect_options()).clone(), 1);
    let backend = PgBackend::new(one.clone(), "payments");
    for left in ["begin", "begin; select 1/0"] {
        assert!(sqlx::raw_sql(left).execute(&one).await.is_ok() || left.contains('/'));
        assert_eq!(mark(&backend, &[left]).await, [true], "{left}");
        let other = PgBackend::new(pool.clone(), "payments");
        assert_eq!(mark(&other, &[left]).await, [false], "{left}: it is committed");
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_unreachable() {
    let config = DeduplicationConfig::builder()
        .store("postgres://nobody@127.0.0.1:1/nowhere")
        .connect_timeout(Duration::from_millis(500))
        .retries(0)
        .build()
        .unwrap();
    let error = EventDeduplicator::new(config, by_name()).await.unwrap_err();
    assert_eq!(error.kind(), EventsErrorKind::Unreachable);
    let error = EventDeduplicator::new(
        DeduplicationConfig::builder().store("postgres://[").build().unwrap(),
        by_name(),
    )
    .await
    .unwrap_err();
    assert_eq!(error.kind(), EventsErrorKind::Config);
}

#[test]
fn who_is_not_let_in_is_refused() {
    let server = PostgresServer::start().unwrap();
    block_on(async {
        migrated(lazy_url(&server.url("postgres"), 1), "payments").await;
        let ask = |sql: &str| server.psql(&server.url("postgres"), sql).unwrap();
        ask("create role stranger login; grant usage on schema tower_inbox to stranger");
        let stranger =
            server.url("postgres").replace("postgres://postgres@", "postgres://stranger@");
        let deduplicator = config(&stranger).retries(0).build().unwrap();
        let error = EventDeduplicator::new(deduplicator, by_name()).await.unwrap_err();
        assert_eq!(error.kind(), EventsErrorKind::Refused, "{:?}", error.source());

        ask("grant select, insert, update, delete on all tables in schema tower_inbox to stranger");
        let deduplicator = config(&stranger).build().unwrap();
        let allowed = EventDeduplicator::new(deduplicator, by_name()).await.unwrap();
        assert!(allowed.check_and_mark("a").await.unwrap());

        let nowhere = config(&server.url("nowhere")).retries(0).build().unwrap();
        let error = EventDeduplicator::new(nowhere, by_name()).await.unwrap_err();
        assert_eq!(error.kind(), EventsErrorKind::Config, "{:?}", error.source());
    });
}

/// Races show there as serialization failures, of which the backend takes note by itself or says that it
/// is busy.
#[sqlx::test(migrations = false)]
async fn a_stricter_isolation_level_changes_no_answer(pool: PgPool) {
    migrated(pool.clone(), "payments").await;
    for level in ["repeatable read", "serializable"] {
        let tasks: Vec<_> = (0..4_u8)
            .map(|task| {
                let options = (*pool.connect_options()).clone();
                let pool = lazy(options.options([("default_transaction_isolation", level)]), 1);
                let backend = PgBackend::new(pool, "payments");
                tokio::spawn(async move {
                    let (window, lease) = (EventWindow::default(), Duration::from_secs(60));
                    let mut mine = Vec::new();
                    for start in 0..40_u8 {
                        // Batches that overlap.
                        let names: Vec<String> =
                            (start..start + 10).map(|n| format!("{level} {n}")).collect();
                        let (all, tokens) = of_places(&names, &(0..10).collect::<Vec<_>>(), task);
                        let claimed = until_answered(|| backend.claim(&all, &tokens, lease)).await;
                        let won = |answer: &ClaimAnswer| *answer == ClaimAnswer::Claimed;
                        let won: Vec<usize> = (0..10).filter(|at| won(&claimed[*at])).collect();
                        let (all, tokens) = of_places(&names, &won, task);
                        let confirmed =
                            until_answered(|| backend.confirm(&all, &tokens, &window)).await;
                        assert!(confirmed.into_iter().all(|confirmed| confirmed));
                        mine.extend(won.into_iter().map(|at| names[at].clone()));
                    }
                    mine
                })
            })
            .collect();
        let mut times = BTreeMap::<String, u32>::new();
        for task in tasks {
            for name in task.await.unwrap() {
                *times.entry(name).or_default() += 1;
            }
        }
        assert_eq!(times.len(), 49, "{level}");
        assert!(times.values().all(|times| *times == 1), "{level}: {times:?}");
    }
}

/// Two pools, as two processes have them, and single calls that coalesce.
#[sqlx::test(migrations = false)]
async fn processes_that_race_share_the_work(pool: PgPool) {
    migrated(pool.clone(), "default").await;
    let processes: Vec<_> = (0..2)
        .map(|_| {
            let pool = lazy((*pool.connect_options()).clone(), 4);
            let backend = PgBackend::new(pool, "default");
            let config = DeduplicationConfig::default();
            let (events, driver) =
                EventDeduplicator::with_backend(config, by_name(), backend).coalesced();
            tokio::spawn(driver);
            events
        })
        .collect();
    let mut tasks = Vec::new();
    for task in 0..16_usize {
        let events = processes[task % 2].clone();
        tasks.push(tokio::spawn(async move {
            let mut handled = Vec::new();
            for delivery in Random(task as u64).deliveries(150, 50) {
                let name = format!("event {delivery}");
                loop {
                    match events.claim(&name).await.unwrap() {
                        Claimed::New(claim) => {
                            tokio::task::yield_now().await;
                            events.confirm(&claim).await.unwrap();
                            handled.push(name);
                            break;
                        }
                        Claimed::Duplicate => break,
                        Claimed::InFlight => tokio::time::sleep(Duration::from_millis(2)).await,
                    }
                }
            }
            handled
        }));
    }
    let mut times = BTreeMap::<String, u32>::new();
    for task in tasks {
        for name in task.await.unwrap() {
            *times.entry(name).or_default() += 1;
        }
    }
    assert_eq!(times.len(), 150);
    assert!(times.values().all(|times| *times == 1), "{times:?}");
}

/// The server is shut down at once, again and again, while batches are claimed and confirmed. What was
/// confirmed stays so, and nothing is lost: in the end every event was handled.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_crashes_in_the_middle_loses_nothing() {
    // Durable: what a server acknowledges without writing it, nobody can keep.
    let mut server = PostgresServer::builder().durable(true).start().unwrap();
    let url = server.url("postgres");
    migrated(lazy_url(&url, 1), "default").await;
    let names: Arc<Vec<String>> = Arc::new((0..EVENTS).map(|n| format!("event {n}")).collect());
    let workers: Vec<_> = (1..=4)
        .map(|worker| {
            let (url, names) = (url.clone(), Arc::clone(&names));
            tokio::spawn(async move { handle_all(&url, &names, worker).await })
        })
        .collect();
    let (mut crashes, mut random) = (0, Random(5));
    while crashes < 4 && !workers.iter().all(|worker| worker.is_finished()) {
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
    let mut confirmed = BTreeMap::<usize, u32>::new();
    for worker in workers {
        for event in worker.await.unwrap() {
            *confirmed.entry(event).or_default() += 1;
        }
    }
    assert!(crashes > 0, "the workers were done before the first crash");
    let doubled: Vec<_> = confirmed.iter().filter(|(_, times)| **times > 1).collect();
    assert!(doubled.is_empty(), "confirmed and then free again: {doubled:?}");
    let backend = PgBackend::new(lazy_url(&url, 1), "default");
    let all: EventIds = names.iter().map(|name| name.as_bytes()).collect();
    let seen = backend.look(&all).await.unwrap();
    assert!(seen.into_iter().all(|seen| seen), "lost");
}

/// Claims and confirms batches until everything is seen; returns what it was told is confirmed, and was
/// its own.
async fn handle_all(url: &str, names: &[String], worker: u8) -> Vec<usize> {
    let backend = PgBackend::new(lazy_url(url, 2), "default");
    let (lease, window) = (Duration::from_secs(2), EventWindow::default());
    let mut random = Random(worker.into());
    let mut left: HashSet<usize> = (0..names.len()).collect();
    let mut handled = Vec::new();
    while !left.is_empty() {
        let mut batch: Vec<usize> = left.iter().copied().collect();
        let start = usize::try_from(random.below(batch.len() as u64)).unwrap();
        batch.rotate_left(start);
        batch.truncate(40);
        let (all, tokens) = of_places(names, &batch, worker);
        let claimed = until_answered(|| backend.claim(&all, &tokens, lease)).await;
        let mut mine = Vec::new();
        for (place, answer) in batch.into_iter().zip(claimed) {
            match answer {
                ClaimAnswer::Claimed => mine.push(place),
                ClaimAnswer::Seen => drop(left.remove(&place)),
                ClaimAnswer::InFlight => {}
            }
        }
        let (all, tokens) = of_places(names, &mine, worker);
        let confirmed = until_answered(|| backend.confirm(&all, &tokens, &window)).await;
        for (place, confirmed) in mine.into_iter().zip(confirmed) {
            if confirmed {
                left.remove(&place);
                handled.push(place);
            }
        }
    }
    handled
}

fn of_places(names: &[String], places: &[usize], worker: u8) -> (EventIds, Vec<ClaimToken>) {
    let ids = places.iter().map(|place| names[*place].as_bytes()).collect();
    (ids, vec![ClaimToken::from_bytes([worker; 16]); places.len()])
}

/// Asks again as long as the server is away, and for no other reason.
async fn until_answered<'a, R>(ask: impl Fn() -> BoxFuture<'a, Result<R, BackendError>>) -> R {
    let began = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => {
                use EventsErrorKind::{Busy, OutcomeUnknown, Unreachable};
                let kind = error.kind();
                let away = matches!(kind, Unreachable | OutcomeUnknown | Busy);
                assert!(away, "{kind:?}: {:?}", error.source());
                assert!(
                    began.elapsed() < Duration::from_secs(60),
                    "{kind:?}: {:?}",
                    error.source()
                );
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

/// Three sessions behind PgBouncer in transaction mode go from hand to hand between many clients, some
/// of whose calls are dropped in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_of_a_pooler_may_go_from_hand_to_hand() {
    let server = PostgresServer::start().unwrap();
    migrated(lazy_url(&server.url("postgres"), 1), "default").await;
    let bouncer = PgBouncer::builder(server.port()).pool_size(3).start().unwrap();
    let url = bouncer.url("postgres");
    let mut tasks = Vec::new();
    for client in 0..4 {
        let backend = PgBackend::new(lazy_url(&url, 6), "default");
        for worker in 0..6 {
            let backend = backend.clone();
            let owner = client * 6 + worker + 1;
            tasks.push(tokio::spawn(async move {
                let window = EventWindow::default();
                let mut random = Random(u64::from(owner));
                let mut new = Vec::new();
                for round in 0..40 {
                    let names: Vec<String> =
                        (0..20).map(|_| format!("event {}", random.below(2_000))).collect();
                    let all: EventIds = names.iter().map(|name| name.as_bytes()).collect();
                    let tokens = [ClaimToken::from_bytes([owner; 16]); 20];
                    if round % 5 == 0 {
                        let limit = Duration::from_micros(random.below(3_000));
                        let lease = Duration::from_millis(200);
                        let claim = backend.claim(&all, &tokens, lease);
                        if tokio::time::timeout(limit, claim).await.is_ok() {
                            backend.release(&all, &tokens).await.unwrap();
                        }
                    } else {
                        let answers = backend.mark(&all, &window).await.unwrap();
                        assert_eq!(answers.len(), 20);
                        new.extend(names.into_iter().zip(answers).filter(|(_, new)| *new));
                    }
                }
                new
            }));
        }
    }
    let mut times = BTreeMap::<String, u32>::new();
    for task in tasks {
        for (name, _) in task.await.unwrap() {
            *times.entry(name).or_default() += 1;
        }
    }
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    let busy = server
        .psql(
            &server.url("postgres"),
            "select state, query from pg_stat_activity where backend_type = 'client backend' \
             and pid <> pg_backend_pid() and state like 'idle in%'",
        )
        .unwrap();
    assert_eq!(busy, "", "left open");
}

/// A namespace of a database, on two pools.
struct Postgres {
    backends: [PgBackend; 2],
    began: Instant,
}

impl Postgres {
    async fn start(pool: PgPool, compress: bool) -> Self {
        let other = lazy((*pool.connect_options()).clone(), 4);
        let backends = [pool, other]
            .map(|pool| PgBackend::new(pool, "conformance").compress_event_ids(compress));
        backends[0].schema().up().await.unwrap();
        Self { backends, began: Instant::now() }
    }
}

impl EventHarness for Postgres {
    fn backend(&self) -> Arc<dyn EventBackend> {
        Arc::new(self.backends[0].clone())
    }

    fn another(&self) -> Arc<dyn EventBackend> {
        Arc::new(self.backends[1].clone())
    }

    fn pass(&self, time: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(time))
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn max_windows(&self) -> Option<usize> {
        None
    }
}

async fn migrated(pool: PgPool, namespace: &str) -> PgBackend {
    let backend = PgBackend::new(pool, namespace);
    backend.schema().up().await.unwrap();
    backend
}

async fn mark(backend: &PgBackend, names: &[&str]) -> Vec<bool> {
    backend.mark(&ids(names), &EventWindow::default()).await.unwrap()
}

async fn rows(pool: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from tower_inbox.event").fetch_one(pool).await.unwrap()
}

fn ids(names: &[&str]) -> EventIds {
    names.iter().map(|name| name.as_bytes()).collect()
}

fn by_name() -> EventIdExtractor<str> {
    EventIdExtractor::string(|name: &str| name.to_owned())
}

fn config(url: &str) -> tower_inbox::events::DeduplicationConfigBuilder {
    DeduplicationConfig::builder().store(url)
}

fn short() -> EventWindow {
    EventWindow::new(Duration::from_millis(400))
        .and_then(|window| window.with_slot(Duration::from_millis(100)))
        .unwrap()
}

fn lazy_url(url: &str, connections: u32) -> PgPool {
    lazy(PgConnectOptions::from_str(url).unwrap(), connections)
}

fn lazy(options: PgConnectOptions, connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(20))
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

const EVENTS: usize = 6_000;

/// The last version without tables for events.
const BEFORE_EVENTS: i64 = 5;
