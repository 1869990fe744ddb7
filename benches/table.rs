//! What the table of claims costs: bytes per message, the rate when it is large, and removing what
//! expired, with claims going on meanwhile.
//!
//! `cargo bench --features postgres --bench table`

mod support;

use std::{
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{
    AssertSqlSafe, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use support::{Args, Goal, Rounds, Spread, Table, judged, order_of, print_machine};
use tower_inbox::{
    BoxError,
    inbox::{
        PgStore, Window,
        store::{Claim, Claimed, ConsumerId, InboxStore},
    },
    key::InboxKey,
};
use tower_inbox_servers::PostgresServer;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let args = Args::parse();
    let server = PostgresServer::builder().durable(true).start()?;
    let version = {
        let store = store(&server, "version").await?;
        sqlx::query_scalar::<_, String>("show server_version").fetch_one(store.pool()).await?
    };
    print_machine(
        "cargo bench --features postgres --bench table",
        &args,
        &[("PostgreSQL", version)],
    );
    if args.wants("bytes") {
        bytes(&args, &server).await?;
    }
    if args.wants("sweep") {
        sweep(&args, &server).await?;
    }
    if args.wants("claims-while-sweeping") {
        claims_while_sweeping(&args, &server).await?;
    }
    if args.wants("large") {
        large(&args, &server).await?;
    }
    Ok(())
}

/// Heap and index after so many claims with random keys.
async fn bytes(args: &Args, server: &PostgresServer) -> Result<(), BoxError> {
    let rows = if args.quick { 100_000 } else { 1_000_000 };
    let store = store(server, "bytes").await?;
    fill(store.pool(), rows, 0).await?;
    let (heap, index): (i64, i64) = sqlx::query_as(
        "select pg_relation_size('tower_inbox.inbox'), pg_indexes_size('tower_inbox.inbox')",
    )
    .fetch_one(store.pool())
    .await?;
    let per_row = |bytes: i64| bytes as f64 / rows as f64;
    let total = per_row(heap + index);
    let mut table = Table::new(&["rows", "heap", "index", "bytes per message", "goal"]);
    table.row([
        rows.to_string(),
        format!("{:.1}", per_row(heap)),
        format!("{:.1}", per_row(index)),
        format!("{total:.1}"),
        Goal::AtMost(105.0).judge(total),
    ]);
    table.print("Bytes per message");
    Ok(())
}

/// Removing a third of a table, against the same pages deleted by a loop written for the purpose.
async fn sweep(args: &Args, server: &PostgresServer) -> Result<(), BoxError> {
    const BY_HAND: &str = "tid range deletes, by hand";
    const SWEEPER: &str = "sweeper without pauses";
    let rows = if args.quick { 300_000 } else { 3_000_000 };
    let rounds = args.rounds().min(3);
    let store = store(server, "sweep").await?;
    let mut times = Rounds::default();
    for round in 0..rounds {
        for variant in order_of(round, 2) {
            sqlx::raw_sql("truncate tower_inbox.inbox").execute(store.pool()).await?;
            fill(store.pool(), rows, rows / 3).await?;
            let began = Instant::now();
            let removed = if variant == 0 {
                delete_by_hand(store.pool()).await?
            } else {
                store.sweeper().pause(Duration::ZERO).sweep().await?
            };
            let name = [BY_HAND, SWEEPER][variant];
            times.push(name, began.elapsed().as_secs_f64() * 1000.0);
            assert_eq!(removed, rows / 3, "{name}");
        }
    }
    let mut table = Table::new(&["variant", "ms", "ratio of times", "goal"]);
    for name in [BY_HAND, SWEEPER] {
        let goal = (name == SWEEPER).then_some(Goal::AtMost(1.15));
        let [ratio, goal] = judged(times.ratio(name, BY_HAND), goal);
        table.row([name.to_owned(), format!("{:.0}", times.of(name).median), ratio, goal]);
    }
    table.print(&format!("Removing {} expired of {rows} rows, {rounds} rounds", rows / 3));
    Ok(())
}

async fn delete_by_hand(pool: &PgPool) -> Result<u64, BoxError> {
    let mut connection = pool.acquire().await?;
    let pages: i64 = sqlx::query_scalar(
        "select pg_relation_size('tower_inbox.inbox') / current_setting('block_size')::int8",
    )
    .fetch_one(&mut *connection)
    .await?;
    let mut removed = 0;
    for page in (0..pages).step_by(64) {
        removed += sqlx::query(
            "delete from tower_inbox.inbox where ctid >= $1::text::tid and ctid < $2::text::tid \
             and expires_at <= $3",
        )
        .bind(format!("({page},0)"))
        .bind(format!("({},0)", page + 64))
        .bind(1)
        .execute(&mut *connection)
        .await?
        .rows_affected();
    }
    Ok(removed)
}

/// The time of claim and commit, with the sweeper at work and without.
async fn claims_while_sweeping(args: &Args, server: &PostgresServer) -> Result<(), BoxError> {
    const ALONE: &str = "no sweeper";
    const SWEEPING: &str = "sweeper at work";
    let rows = if args.quick { 300_000 } else { 3_000_000 };
    let store = store(server, "claims").await?;
    let (mut p50s, mut p99s) = (Rounds::default(), Rounds::default());
    let rounds = args.rounds().min(3);
    for round in 0..rounds {
        for variant in order_of(round, 2) {
            sqlx::raw_sql("truncate tower_inbox.inbox").execute(store.pool()).await?;
            fill(store.pool(), rows, rows / 3).await?;
            let name = [ALONE, SWEEPING][variant];
            let sweeping = (variant == 1).then(|| {
                let sweeper = store.sweeper();
                tokio::spawn(async move { sweeper.sweep().await })
            });
            let mut latencies = if let Some(sweeping) = sweeping {
                let stop = Arc::new(AtomicBool::new(false));
                let claims = tokio::spawn(claim_until(store.clone(), 4, Arc::clone(&stop)));
                sweeping.await??;
                stop.store(true, Ordering::SeqCst);
                claims.await??
            } else {
                let stop = Arc::new(AtomicBool::new(false));
                let claims = tokio::spawn(claim_until(store.clone(), 4, Arc::clone(&stop)));
                tokio::time::sleep(4 * args.slice()).await;
                stop.store(true, Ordering::SeqCst);
                claims.await??
            };
            latencies.sort_unstable();
            let at = |part: usize| latencies[latencies.len() * part / 100].as_secs_f64() * 1000.0;
            p50s.push(name, at(50));
            p99s.push(name, at(99));
        }
    }
    let mut table = Table::new(&["variant", "p50 ms", "p99 ms", "ratio of p99", "goal"]);
    for name in [ALONE, SWEEPING] {
        let goal = (name == SWEEPING).then_some(Goal::AtMost(1.5));
        let [ratio, goal] = judged(p99s.ratio(name, ALONE), goal);
        let [p50, p99] = [&p50s, &p99s].map(|rounds| format!("{:.2}", rounds.of(name).median));
        table.row([name.to_owned(), p50, p99, ratio, goal]);
    }
    table.print(&format!("Claim and commit, 4 workers, {rows} rows, {rounds} rounds"));
    Ok(())
}

/// Claims per second in a large table and in an empty one, each right after a checkpoint.
async fn large(args: &Args, server: &PostgresServer) -> Result<(), BoxError> {
    const EMPTY: &str = "empty";
    let rows = if args.quick { 500_000 } else { 10_000_000 };
    let full = format!("{rows} rows");
    let stores = [store(server, "empty").await?, store(server, "large").await?];
    fill(stores[1].pool(), rows, 0).await?;
    let mut rates = Rounds::default();
    for round in 0..args.rounds() {
        for variant in order_of(round, 2) {
            let store = &stores[variant];
            if variant == 0 {
                sqlx::raw_sql("truncate tower_inbox.inbox").execute(store.pool()).await?;
            }
            sqlx::raw_sql("checkpoint").execute(store.pool()).await?;
            let stop = Arc::new(AtomicBool::new(false));
            let began = Instant::now();
            let claims = tokio::spawn(claim_until(store.clone(), 8, Arc::clone(&stop)));
            tokio::time::sleep(2 * args.slice()).await;
            stop.store(true, Ordering::SeqCst);
            let claimed = claims.await??.len();
            let name = [EMPTY, &full][variant];
            rates.push(name, claimed as f64 / began.elapsed().as_secs_f64());
        }
    }
    let mut table = Table::new(&["table", "claims/s", "ratio", "goal"]);
    for name in [EMPTY, &full] {
        let goal = (name != EMPTY).then_some(Goal::AtLeast(0.85));
        let [ratio, goal] = judged(rates.ratio(name, EMPTY), goal);
        let Spread { median, .. } = rates.of(name);
        table.row([name.to_owned(), format!("{median:.0}"), ratio, goal]);
    }
    table.print("Claim and commit, 8 workers, by the size of the table");
    Ok(())
}

/// Claims new messages with so many workers until told to stop; the time that each took.
async fn claim_until(
    store: PgStore,
    workers: usize,
    stop: Arc<AtomicBool>,
) -> Result<Vec<Duration>, BoxError> {
    let workers: Vec<_> = (0..workers)
        .map(|_| {
            let (store, stop) = (store.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    let key = InboxKey::from(uuid::Uuid::from_u128(random()));
                    let claim =
                        Claim::new(CONSUMER, key, Window::default(), Duration::from_millis(50));
                    let began = Instant::now();
                    let Claimed::Won(tx) = store.claim(claim).await? else {
                        return Err("a random key was there already".into());
                    };
                    tx.commit().await?;
                    latencies.push(began.elapsed());
                }
                Ok::<_, BoxError>(latencies)
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for worker in workers {
        latencies.extend(worker.await??);
    }
    Ok(latencies)
}

/// Inserts rows as claims would, in the order of nothing, so many of them expired.
async fn fill(pool: &PgPool, rows: u64, expired: u64) -> Result<(), BoxError> {
    let sql = format!(
        "insert into tower_inbox.inbox (key, expires_at, consumer)
         select gen_random_uuid(),
                case when n % {rows} < {expired} then 1 else 1000000000 end, 1
         from (select n * 7919 as n from generate_series(1::int8, {rows}) n) numbers"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await?;
    for statement in ["vacuum analyze tower_inbox.inbox", "checkpoint"] {
        sqlx::raw_sql(statement).execute(pool).await?;
    }
    Ok(())
}

async fn store(server: &PostgresServer, database: &str) -> Result<PgStore, BoxError> {
    server.create_database(database)?;
    let pool = PgPoolOptions::new()
        .max_connections(12)
        .test_before_acquire(false)
        .connect_with(PgConnectOptions::from_str(&server.socket_url(database))?)
        .await?;
    let store = PgStore::new(pool);
    store.schema().up().await?;
    Ok(store)
}

/// Two numbers of the standard library's own random hash keys.
fn random() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    let half = || u128::from(RandomState::new().hash_one(Instant::now()));
    half() << 64 | half()
}

const CONSUMER: ConsumerId = ConsumerId::new(1);
