//! The primary dies under load, its replica is promoted, and the address that the workers know moves
//! there; the broker delivers again whatever was not acknowledged.
//!
//! One failover of each kind by default, ten with `TOWER_INBOX_LONG=1`.
#![cfg(all(feature = "postgres", feature = "testing", feature = "sqlite"))]

mod support;

use std::{
    collections::{BTreeSet, VecDeque},
    env,
    net::{Ipv4Addr, SocketAddr},
    str::FromStr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use sqlx::{
    PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use support::random::Random;
use tower::{Layer, ServiceExt, service_fn};
use tower_inbox::{
    BoxError, InboxLayer,
    inbox::{Leased, PgStore, Received},
};
use tower_inbox_servers::{DelayProxy, PostgresServer};

/// What was acknowledged is on the replica: nothing is lost and nothing doubled.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_failover_to_a_synchronous_replica_loses_and_doubles_nothing() {
    for seed in 0..rounds() {
        let mut cluster = Cluster::start(true).await;
        let broker = Broker::new(seed);
        let workers = broker.work(&cluster.pool);
        broker.wait_until_acknowledged(MESSAGES / 4).await;
        cluster.kill_primary();
        let acknowledged = broker.acknowledged_by_the_dead(&workers).await;
        cluster.promote();
        let survived = cluster.standby_effects();
        assert!(acknowledged.len() < MESSAGES, "the workers were done before the failover");
        assert!(acknowledged.is_subset(&survived), "acknowledged and lost");
        cluster.assert_each_has_its_claim();

        cluster.move_clients();
        workers.join().await;
        assert_eq!(broker.acknowledged(), all());
        cluster.assert_effects(&all());
    }
}

/// The commits that the replica did not receive are gone, each with its claim and its effect. So
/// exactly what was acknowledged of them is lost, nothing is doubled, and a broker that goes back to
/// before the failover brings all of it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_failover_to_an_asynchronous_replica_loses_what_it_had_not_received() {
    for seed in 0..rounds() {
        let mut cluster = Cluster::start(false).await;
        let broker = Broker::new(seed);
        let workers = broker.work(&cluster.pool);
        broker.wait_until_acknowledged(MESSAGES / 4).await;
        let received_at_least = broker.acknowledged();
        cluster.standby.catch_up_with(&cluster.primary).unwrap();
        // The replica falls behind …
        cluster.cut_replication();
        broker.wait_until_acknowledged(MESSAGES / 2).await;
        // … and the primary dies.
        cluster.kill_primary();
        let acknowledged = broker.acknowledged_by_the_dead(&workers).await;
        assert!(acknowledged.len() < MESSAGES, "the workers were done before the failover");
        cluster.promote();
        let survived = cluster.standby_effects();
        cluster.assert_each_has_its_claim();
        assert!(received_at_least.is_subset(&survived));
        // Some of what is gone comes a second time by itself.
        let lost = &(&acknowledged - &survived) - &broker.still_delivers();
        assert!(!lost.is_empty(), "the replica was not behind");
        // The dead primary, asked where no worker can reach it: it had all of them.
        let committed = cluster.effects_of_the_dead();
        assert!(acknowledged.is_subset(&committed) && survived.is_subset(&committed));

        cluster.move_clients();
        workers.join().await;
        assert_eq!(broker.acknowledged(), all());
        cluster.assert_effects(&(&all() - &lost));

        let again = Broker::new(seed + 1);
        again.work(&cluster.pool).join().await;
        cluster.assert_effects(&all());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_grow_over_a_failover_to_a_synchronous_replica() {
    let mut cluster = Cluster::start(true).await;
    let before = cluster.tokens(0..70).await;
    cluster.kill_primary();
    cluster.promote();
    cluster.move_clients();
    let after = cluster.tokens(100..110).await;
    assert!(before.iter().max() < after.iter().min(), "{before:?} {after:?}");
}

/// What `docs/postgres.md` says of fencing tokens: a lease that was lost takes its token with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_may_repeat_after_a_failover_to_an_asynchronous_replica() {
    let mut cluster = Cluster::start(false).await;
    cluster.tokens(0..1).await;
    cluster.standby.catch_up_with(&cluster.primary).unwrap();
    cluster.cut_replication();
    let lost = cluster.tokens(1..70).await;
    cluster.kill_primary();
    cluster.promote();
    cluster.move_clients();
    let after = cluster.tokens(100..110).await;
    assert!(after.iter().any(|token| lost.contains(token)), "{lost:?} {after:?}");
}

/// A primary and its replica, a link between them, and the address that the workers know.
struct Cluster {
    primary: PostgresServer,
    standby: PostgresServer,
    link: DelayProxy,
    address: DelayProxy,
    pool: PgPool,
}

impl Cluster {
    async fn start(synchronous: bool) -> Self {
        // Durable: with `synchronous_commit = off` no replica is waited for either.
        let primary = PostgresServer::builder()
            .durable(true)
            .setting("shared_buffers", "128MB")
            .start()
            .unwrap();
        let address = DelayProxy::start(at(&primary), Duration::ZERO).unwrap();
        let link = DelayProxy::start(at(&primary), Duration::ZERO).unwrap();
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres", address.port());
        let pool = PgPoolOptions::new()
            .max_connections(8)
            .acquire_timeout(Duration::from_secs(5))
            .test_before_acquire(false)
            .connect_lazy_with(PgConnectOptions::from_str(&url).unwrap());
        let store = PgStore::new(pool.clone());
        store.schema().up().await.unwrap();
        sqlx::raw_sql("create table effect (message int8)").execute(&pool).await.unwrap();
        layer(store).prepare().await.unwrap();
        let standby =
            primary.standby().synchronous(synchronous).through(link.port()).start().unwrap();
        standby.catch_up_with(&primary).unwrap();
        Self { primary, standby, link, address, pool }
    }

    /// Nothing passes from the primary to the replica any more.
    fn cut_replication(&self) {
        self.link.redirect((Ipv4Addr::LOCALHOST, 1).into());
        self.link.cut();
    }

    fn kill_primary(&mut self) {
        self.primary.stop_immediate().unwrap();
        self.cut_replication();
    }

    fn promote(&self) {
        self.standby.promote().unwrap();
    }

    fn move_clients(&self) {
        self.address.redirect(at(&self.standby));
        self.address.cut();
    }

    fn standby_effects(&self) -> BTreeSet<u64> {
        effects(&self.standby)
    }

    /// Starts the old primary on its own port, which no worker knows, and stops it again.
    fn effects_of_the_dead(&mut self) -> BTreeSet<u64> {
        assert_eq!(self.ask("select pg_is_in_recovery()"), "f");
        self.address.redirect((Ipv4Addr::LOCALHOST, 1).into());
        self.primary.start_again().unwrap();
        let effects = effects(&self.primary);
        self.primary.stop_immediate().unwrap();
        effects
    }

    /// On the replica, no effect is without a claim and no claim without its effect.
    fn assert_each_has_its_claim(&self) {
        let effects = self.ask("select count(*), count(distinct message) from effect");
        let claims = self.ask("select count(*), count(*) from tower_inbox.inbox");
        assert_eq!(effects, claims);
    }

    fn assert_effects(&self, expected: &BTreeSet<u64>) {
        let doubled = "select message from effect group by message having count(*) > 1";
        assert_eq!(self.ask(doubled), "", "doubled");
        let effects = self.standby_effects();
        let (lost, more) = (expected - &effects, &effects - expected);
        assert!(lost.is_empty() && more.is_empty(), "lost {lost:?}, unexpected {more:?}");
        self.assert_each_has_its_claim();
    }

    fn ask(&self, sql: &str) -> String {
        self.standby.psql(&self.standby.url("postgres"), sql).unwrap()
    }

    /// Leases each message once it can be reached, and returns the tokens.
    async fn tokens(&self, messages: std::ops::Range<u64>) -> Vec<i64> {
        let service = InboxLayer::new("payments", PgStore::new(self.pool.clone()))
            .dedup_by(|message: &u64| *message)
            .leased(Duration::from_secs(600))
            .layer(service_fn(async |leased: Leased<u64>| {
                Ok::<_, std::convert::Infallible>(leased.lease.unwrap().token())
            }));
        let mut tokens = Vec::new();
        for message in messages {
            let began = Instant::now();
            loop {
                match service.clone().oneshot(message).await {
                    Ok(outcome) => break tokens.push(outcome.handled().unwrap()),
                    Err(error) => assert!(began.elapsed() < PATIENCE, "{error:?}"),
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        tokens
    }
}

/// Delivers at least once: what is not acknowledged comes again.
#[derive(Clone)]
struct Broker(Arc<Mutex<Messages>>);

struct Messages {
    queue: VecDeque<u64>,
    /// With a worker at this moment.
    out: Vec<u64>,
    acknowledged: BTreeSet<u64>,
}

impl Broker {
    /// With every message in it, half of them twice.
    fn new(seed: u64) -> Self {
        let queue = Random(seed).deliveries(MESSAGES as u64, MESSAGES as u64 / 2).into();
        Self(Arc::new(Mutex::new(Messages {
            queue,
            out: Vec::new(),
            acknowledged: BTreeSet::new(),
        })))
    }

    fn work(&self, pool: &PgPool) -> Workers {
        let workers = (0..WORKERS).map(|_| {
            let (broker, store) = (self.clone(), PgStore::new(pool.clone()));
            tokio::spawn(async move { broker.consume(store).await })
        });
        Workers(workers.collect())
    }

    async fn consume(&self, store: PgStore) {
        let service = layer(store).layer(service_fn(write));
        let began = Instant::now();
        while let Some(message) = self.next() {
            match service.clone().oneshot(message).await {
                // Handled, or a duplicate.
                Ok(_) => self.acknowledge(message),
                Err(error) => {
                    assert!(began.elapsed() < 2 * PATIENCE, "{error:?}");
                    self.give_back(message);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }

    fn next(&self) -> Option<u64> {
        let mut messages = self.0.lock().unwrap();
        let message = messages.queue.pop_front()?;
        messages.out.push(message);
        Some(message)
    }

    fn acknowledge(&self, message: u64) {
        let mut messages = self.0.lock().unwrap();
        messages.take_back(message);
        messages.acknowledged.insert(message);
    }

    fn give_back(&self, message: u64) {
        let mut messages = self.0.lock().unwrap();
        messages.take_back(message);
        messages.queue.push_back(message);
    }

    /// What will come, the first time or again.
    fn still_delivers(&self) -> BTreeSet<u64> {
        let messages = self.0.lock().unwrap();
        messages.queue.iter().chain(&messages.out).copied().collect()
    }

    fn acknowledged(&self) -> BTreeSet<u64> {
        self.0.lock().unwrap().acknowledged.clone()
    }

    async fn wait_until_acknowledged(&self, count: usize) {
        let began = Instant::now();
        while self.acknowledged().len() < count {
            assert!(began.elapsed() < PATIENCE, "the workers are stuck");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What was acknowledged until the primary died, the answers included that were under way.
    async fn acknowledged_by_the_dead(&self, workers: &Workers) -> BTreeSet<u64> {
        let mut before = self.acknowledged();
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let now = self.acknowledged();
            if now == before {
                assert!(workers.0.iter().all(|worker| !worker.is_finished()), "a worker gave up");
                return now;
            }
            before = now;
        }
    }
}

impl Messages {
    fn take_back(&mut self, message: u64) {
        let at = self.out.iter().position(|out| *out == message).unwrap();
        self.out.swap_remove(at);
    }
}

struct Workers(Vec<tokio::task::JoinHandle<()>>);

impl Workers {
    async fn join(self) {
        for worker in self.0 {
            worker.await.unwrap();
        }
    }
}

async fn write(mut received: Received<u64, PgConnection>) -> Result<(), BoxError> {
    sqlx::query("insert into effect (message) values ($1)")
        .bind(received.message.cast_signed())
        .execute(&mut *received.tx)
        .await?;
    Ok(())
}

fn layer(store: PgStore) -> InboxLayer<PgStore, ById> {
    let id: fn(&u64) -> u64 = |id| *id;
    InboxLayer::new("billing", store).dedup_by(id)
}

type ById = tower_inbox::inbox::ByFields<fn(&u64) -> u64, u64>;

fn effects(server: &PostgresServer) -> BTreeSet<u64> {
    let lines = server.psql(&server.url("postgres"), "select message from effect").unwrap();
    lines.lines().map(|line| line.parse().unwrap()).collect()
}

fn all() -> BTreeSet<u64> {
    (0..MESSAGES as u64).collect()
}

fn at(server: &PostgresServer) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, server.port()).into()
}

fn rounds() -> u64 {
    if env::var_os("TOWER_INBOX_LONG").is_some() { 10 } else { 1 }
}

const MESSAGES: usize = 1500;
const WORKERS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(60);
