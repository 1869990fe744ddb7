//! What tables that take turns cost and save: bytes per message, removing what expired, and claims by
//! the number of tables that they look into.
//!
//! `cargo bench --features postgres --bench buckets`

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
        PgBucketStore, PgStore, Window,
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
        let pool = pool(&server, "version").await?;
        sqlx::query_scalar::<_, String>("show server_version").fetch_one(&pool).await?
    };
    print_machine("buckets", &args, &[("PostgreSQL", version)]);
    if args.wants("bytes") {
        bytes(&args, &server).await?;
    }
    if args.wants("remove") {
        remove(&args, &server).await?;
    }
    if args.wants("claims") {
        claims(&args, &server).await?;
    }
    Ok(())
}

/// Heap and index after so many claims with random keys.
async fn bytes(args: &Args, server: &PostgresServer) -> Result<(), BoxError> {
    let rows = if args.quick { 100_000 } else { 1_000_000 };
    let pool = pool(server, "bytes").await?;
    fill(&pool, "bucket_1", rows, "2000000000").await?;
    let bytes: i64 = sqlx::query_scalar(
        "select pg_relation_size('tower_inbox.bucket_1') + pg_indexes_size('tower_inbox.bucket_1')",
    )
    .fetch_one(&pool)
    .await?;
    let per_row = bytes as f64 / rows as f64;
    let mut table = Table::new(&["rows", "bytes per message", "goal"]);
    table.row([rows.to_string(), format!("{per_row:.1}"), Goal::AtMost(105.0).judge(per_row)]);
    table.print("Bytes per message");
    Ok(())
}

/// Removing a third of all rows: one of three tables, or a third of the flat one. Time and log until the
/// space can be used again, which for the flat table takes a vacuum.
async fn remove(args: &Args, server: &PostgresServer) -> Result<(), BoxError> {
    const FLAT: &str = "flat: sweeper without pauses, and vacuum";
    const BY_HAND: &str = "flat: one delete, and vacuum";
    const BUCKETS: &str = "buckets: sweeper";
    let third = if args.quick { 100_000 } else { 1_000_000 };
    let rounds = args.rounds().min(3);
    let pool = pool(server, "remove").await?;
    let flat = PgStore::new(pool.clone());
    let buckets = PgBucketStore::new(pool.clone());
    register(&buckets).await?;
    let (mut times, mut logs) = (Rounds::default(), Rounds::default());
    for round in 0..rounds {
        for variant in order_of(round, 3) {
            let name = [FLAT, BY_HAND, BUCKETS][variant];
            sqlx::raw_sql(
                "truncate tower_inbox.inbox, tower_inbox.bucket_1, tower_inbox.bucket_2,
                 tower_inbox.bucket_3",
            )
            .execute(&pool)
            .await?;
            if variant == 2 {
                live_tables(&pool, 3).await?;
                fill(&pool, "bucket_1", third, "2").await?;
                fill(&pool, "bucket_2", 2 * third, "2000000000").await?;
                sqlx::raw_sql("update tower_inbox.ring set from_s[1] = 1, until_s[1] = 3")
                    .execute(&pool)
                    .await?;
            } else {
                let ends = "case when n % 3 = 0 then 1 else 2000000000 end";
                fill(&pool, "inbox", 3 * third, ends).await?;
            }
            let before = log(&pool).await?;
            let began = Instant::now();
            let removed = match variant {
                0 => flat.sweeper().pause(Duration::ZERO).sweep().await?,
                1 => sqlx::query("delete from tower_inbox.inbox where expires_at <= 1")
                    .execute(&pool)
                    .await?
                    .rows_affected(),
                _ => buckets.sweeper().pause(Duration::ZERO).sweep().await?,
            };
            if variant < 2 {
                sqlx::raw_sql("vacuum tower_inbox.inbox").execute(&pool).await?;
            }
            times.push(name, began.elapsed().as_secs_f64() * 1000.0);
            logs.push(name, (log(&pool).await? - before) as f64 / 1e6);
            assert!(removed.abs_diff(third) <= third / 100, "{name}: {removed}");
        }
    }
    let mut table = Table::new(&["variant", "ms", "ratio of times", "MB of log", "goal"]);
    for name in [FLAT, BY_HAND, BUCKETS] {
        let goal = (name == BUCKETS).then_some(Goal::AtMost(0.3));
        let [ratio, goal] = judged(times.ratio(name, FLAT), goal);
        let [time, log] = [&times, &logs].map(|rounds| rounds.of(name).median);
        table.row([name.to_owned(), format!("{time:.0}"), ratio, format!("{log:.1}"), goal]);
    }
    table.print(&format!("Removing {third} expired of {} rows, {rounds} rounds", 3 * third));
    Ok(())
}

/// Claims per second by the number of tables that are not over, with as many rows in all of them
/// together as in the flat one.
async fn claims(args: &Args, server: &PostgresServer) -> Result<(), BoxError> {
    const FLAT: &str = "flat";
    const TABLES: [usize; 4] = [1, 3, 5, 9];
    let rows: u64 = if args.quick { 450_000 } else { 9_000_000 };
    let flat = pool(server, "claims_flat").await?;
    fill(&flat, "inbox", rows, "2000000000").await?;
    let mut buckets = Vec::new();
    for tables in TABLES {
        let pool = pool(server, &format!("claims_{tables}")).await?;
        for n in 1..=tables {
            fill(&pool, &format!("bucket_{n}"), rows / tables as u64, "2000000000").await?;
        }
        buckets.push(pool);
    }
    let mut rates = Rounds::default();
    let name = |variant: usize| match variant {
        0 => FLAT.to_owned(),
        n if TABLES[n - 1] == 1 => "1 table".to_owned(),
        n => format!("{} tables", TABLES[n - 1]),
    };
    for round in 0..args.rounds() {
        for variant in order_of(round, TABLES.len() + 1) {
            let pool = if variant == 0 { &flat } else { &buckets[variant - 1] };
            if variant > 0 {
                live_tables(pool, TABLES[variant - 1]).await?;
            }
            sqlx::raw_sql("checkpoint").execute(pool).await?;
            let stop = Arc::new(AtomicBool::new(false));
            let began = Instant::now();
            let claims = if variant == 0 {
                tokio::spawn(claim_until(PgStore::new(pool.clone()), Arc::clone(&stop)))
            } else {
                tokio::spawn(claim_until(PgBucketStore::new(pool.clone()), Arc::clone(&stop)))
            };
            tokio::time::sleep(2 * args.slice()).await;
            stop.store(true, Ordering::SeqCst);
            let claimed = claims.await??;
            rates.push(&name(variant), claimed as f64 / began.elapsed().as_secs_f64());
        }
    }
    let mut table = Table::new(&["tables", "claims/s", "ratio", "goal"]);
    for variant in 0..=TABLES.len() {
        let name = name(variant);
        let goal = (variant == 2).then_some(Goal::AtLeast(0.7));
        let [ratio, goal] = judged(rates.ratio(&name, FLAT), goal);
        let Spread { median, .. } = rates.of(&name);
        table.row([name, format!("{median:.0}"), ratio, goal]);
    }
    table.print(&format!("Claim and commit, 8 workers, {rows} rows, by what a claim looks into"));
    Ok(())
}

/// Claims new messages with eight workers until told to stop; how many.
async fn claim_until<St>(store: St, stop: Arc<AtomicBool>) -> Result<usize, BoxError>
where
    St: InboxStore + Clone + 'static,
{
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let (store, stop) = (store.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut claimed = 0;
                while !stop.load(Ordering::SeqCst) {
                    let key = InboxKey::from(uuid::Uuid::from_u128(random()));
                    let claim =
                        Claim::new(CONSUMER, key, Window::default(), Duration::from_millis(50));
                    let Claimed::Won(tx) = store.claim(claim).await? else {
                        return Err("a random key was there already".into());
                    };
                    tx.commit().await?;
                    claimed += 1;
                }
                Ok::<_, BoxError>(claimed)
            })
        })
        .collect();
    let mut claimed = 0;
    for worker in workers {
        claimed += worker.await??;
    }
    Ok(claimed)
}

/// Gives so many tables places such that claims with the default window go to the last.
async fn live_tables(pool: &PgPool, tables: usize) -> Result<(), BoxError> {
    let sql = format!(
        "with n as (
             select n, floor(tower_inbox.now_s(null))::int4 as now,
                    86400 / greatest({tables} - 1, 1) as period
             from generate_series(1, 16) n
         )
         update tower_inbox.ring
         set from_s = array(
                 select case when n <= {tables} then now + (n - 1) * period - 3600 else 0 end
                 from n order by n
             ),
             until_s = array(
                 select case when n < {tables} then now + n * period - 3600
                             when n = {tables} then now + 1000000 else 0 end
                 from n order by n
             )"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await?;
    Ok(())
}

/// Inserts rows as claims would, in the order of nothing.
async fn fill(pool: &PgPool, table: &str, rows: u64, ends: &str) -> Result<(), BoxError> {
    let sql = format!(
        "insert into tower_inbox.{table} (key, expires_at, consumer)
         select gen_random_uuid(), {ends}, 1
         from generate_series(1::int8, {rows}) n"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await?;
    let vacuum = format!("vacuum analyze tower_inbox.{table}");
    for statement in [&*vacuum, "checkpoint"] {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(pool).await?;
    }
    Ok(())
}

/// The log's length so far.
async fn log(pool: &PgPool) -> Result<i64, BoxError> {
    let sql = "select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::int8";
    Ok(sqlx::query_scalar(sql).fetch_one(pool).await?)
}

async fn register(store: &PgBucketStore) -> Result<(), BoxError> {
    let probe = InboxKey::from_bytes([0; 16]);
    store.register("billing".into(), Window::default(), probe).await?;
    Ok(())
}

async fn pool(server: &PostgresServer, database: &str) -> Result<PgPool, BoxError> {
    server.create_database(database)?;
    let pool = PgPoolOptions::new()
        .max_connections(12)
        .test_before_acquire(false)
        .connect_with(PgConnectOptions::from_str(&server.socket_url(database))?)
        .await?;
    PgStore::new(pool.clone()).schema().up().await?;
    Ok(pool)
}

/// Two numbers of the standard library's own random hash keys.
fn random() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    let half = || u128::from(RandomState::new().hash_one(Instant::now()));
    half() << 64 | half()
}

const CONSUMER: ConsumerId = ConsumerId::new(1);
