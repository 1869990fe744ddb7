//! What the inbox costs a handler that inserts one row: messages per second against the same handler
//! without an inbox, in one run on one private, durable server.
//!
//! Parts, for `--only`: `local-1`, `local-8`, `local-32` (unix socket), `network-1`, `network-8`
//! (0.5 ms round trip), `sqlite-1`, `sqlite-32`; `claims-1`, `claims-8`, `commits-1`,
//! `commits-8` (variants of the statements by hand); `batches-1`, `batches-8`; `duplicates-1`,
//! `duplicates-8`; or the beginning of a name. Pools have as many
//! connections as there are workers, and twice as many in `roomy-1`, …, `roomy-network-8`.

mod batches;
mod cell;
mod drive;
mod duplicates;
mod order;
mod postgres;
mod sqlite;
#[path = "../support/mod.rs"]
mod support;

use std::{net::Ipv4Addr, path::Path, str::FromStr, time::Duration};

use sqlx::postgres::PgConnectOptions;
use tower_inbox::{BoxError, inbox::SqliteStore};
use tower_inbox_servers::{DelayProxy, PostgresServer};

use cell::{Aim, Variant, measure};
use postgres::{CLAIMS, COMMITS, Pg, WAYS, Way};
use support::{Args, Goal, filesystem, print_machine};

fn main() -> Result<(), BoxError> {
    let args = Args::parse();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(&args))
}

async fn run(args: &Args) -> Result<(), BoxError> {
    let files = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let server = PostgresServer::builder().durable(true).start()?;
    let versions = [
        ("PostgreSQL", server.psql(&server.url("postgres"), "show server_version")?),
        ("SQLite", sqlite_version().await?),
    ];
    print_machine("cargo bench --features postgres --bench inbox", args, &versions);
    println!("SQLite's files are on {}\n", filesystem(files.path()));

    for (part, workers, room, aims) in local() {
        if args.wants(part) {
            let variants = on_postgres(&server, &server.socket_url("x"), part, WAYS, room).await?;
            measure(part, args, workers, variants, &aims).await;
        }
    }

    for (part, workers, ways) in design() {
        if args.wants(part) {
            let variants = on_postgres(&server, &server.socket_url("x"), part, ways, 1).await?;
            measure(part, args, workers, variants, &[]).await;
        }
    }

    let proxy = DelayProxy::start((Ipv4Addr::LOCALHOST, server.port()).into(), ONE_WAY)?;
    let faraway = format!("postgres://postgres@127.0.0.1:{}/x", proxy.port());
    for (part, workers, room, aims) in network() {
        if args.wants(part) {
            let variants = on_postgres(&server, &faraway, part, WAYS, room).await?;
            measure(part, args, workers, variants, &aims).await;
        }
    }

    for (part, workers, goal) in [("batches-1", 1, 15.0), ("batches-8", 8, 8.0)] {
        if args.wants(part) {
            let variants = in_batches(&server, part).await?;
            let aims = [
                aim(batches::LAYER, batches::BARE_SINGLY, Some(Goal::AtLeast(goal))),
                aim(batches::LAYER, batches::BARE, None),
            ];
            measure(part, args, workers, variants, &aims).await;
        }
    }
    for (part, workers) in [("duplicates-1", 1), ("duplicates-8", 8)] {
        if args.wants(part) {
            let variants = of_duplicates(&server, part).await?;
            let aims = [
                aim(duplicates::READ_FIRST, duplicates::NAIVE, Some(Goal::AtLeast(2.5))),
                aim(duplicates::READ_FIRST_BATCHED, duplicates::NAIVE, Some(Goal::AtLeast(20.0))),
                aim(duplicates::REMEMBER, duplicates::NAIVE, None),
            ];
            measure(part, args, workers, variants, &aims).await;
        }
    }

    for (part, workers) in [("sqlite-1", 1), ("sqlite-32", 32)] {
        if args.wants(part) {
            let variants = on_sqlite(files.path(), part).await?;
            measure(part, args, workers, variants, &sqlite_aims()).await;
        }
    }
    Ok(())
}

type Part = (&'static str, usize, usize, Vec<Aim>);

fn local() -> Vec<Part> {
    let parts = [
        ("local-1", 1, 1, 0.75, 0.85),
        ("local-8", 8, 1, 0.72, 0.80),
        ("local-32", 32, 1, 0.70, 0.74),
        ("roomy-1", 1, 2, 0.75, 0.85),
        ("roomy-8", 8, 2, 0.72, 0.80),
        ("roomy-32", 32, 2, 0.70, 0.74),
    ];
    parts
        .into_iter()
        .map(|(part, workers, room, pool, held)| {
            let mut aims = vec![
                aim(postgres::INBOX, postgres::BARE, Some(Goal::AtLeast(pool))),
                aim(postgres::INBOX, postgres::BARE_HELD, Some(Goal::AtLeast(held))),
                aim(postgres::INBOX_KEEPING, postgres::BARE, Some(Goal::AtLeast(pool))),
                aim(postgres::INBOX_KEEPING, postgres::BARE_HELD, Some(Goal::AtLeast(held))),
                aim(postgres::INBOX_UNPREPARED, postgres::BARE, None),
            ];
            aims.extend(layer_aims());
            (part, workers, room, aims)
        })
        .collect()
}

fn network() -> Vec<Part> {
    let parts = [
        ("network-1", 1, 1, 1.0),
        ("network-8", 8, 1, 0.95),
        ("roomy-network-1", 1, 2, 1.0),
        ("roomy-network-8", 8, 2, 0.95),
    ];
    parts
        .into_iter()
        .map(|(part, workers, room, pool)| {
            let mut aims = vec![
                aim(postgres::INBOX, postgres::BARE, Some(Goal::AtLeast(pool))),
                aim(postgres::INBOX, postgres::BARE_DEFAULT, Some(Goal::AtLeast(1.1))),
                aim(postgres::INBOX_KEEPING, postgres::BARE, Some(Goal::AtLeast(pool))),
                aim(postgres::INBOX_KEEPING, postgres::BARE_DEFAULT, Some(Goal::AtLeast(1.1))),
                aim(postgres::INBOX, postgres::BARE_HELD, None),
                aim(postgres::INBOX_UNPREPARED, postgres::BARE, None),
            ];
            aims.extend(layer_aims());
            (part, workers, room, aims)
        })
        .collect()
}

/// What the layer gains, and what it costs by itself.
fn layer_aims() -> [Aim; 2] {
    [aim(postgres::INBOX, postgres::NAIVE, None), aim(postgres::INBOX, postgres::BY_HAND, None)]
}

/// The choices behind the layer, by hand.
fn design() -> [(&'static str, usize, &'static [Way]); 4] {
    [
        ("claims-1", 1, CLAIMS),
        ("claims-8", 8, CLAIMS),
        ("commits-1", 1, COMMITS),
        ("commits-8", 8, COMMITS),
    ]
}

fn sqlite_aims() -> [Aim; 3] {
    [
        aim(sqlite::INBOX, sqlite::BARE, Some(Goal::AtLeast(0.88))),
        aim(sqlite::INBOX, sqlite::NAIVE, None),
        aim(sqlite::INBOX, sqlite::BY_HAND, None),
    ]
}

fn aim(of: &'static str, to: &'static str, goal: Option<Goal>) -> Aim {
    Aim { of, to, goal }
}

/// Makes a database for each variant, so that none pays for the rows of another.
async fn on_postgres(
    server: &PostgresServer,
    url: &str,
    part: &str,
    ways: &'static [Way],
    room: usize,
) -> Result<Vec<Box<dyn Variant>>, BoxError> {
    let options = PgConnectOptions::from_str(url)?;
    let mut variants: Vec<Box<dyn Variant>> = Vec::new();
    for (index, way) in ways.iter().enumerate() {
        let name = format!("{}_{index}", database(part));
        server.create_database(&name)?;
        variants.push(Box::new(Pg::new(way, options.clone().database(&name), room).await?));
    }
    Ok(variants)
}

async fn in_batches(
    server: &PostgresServer,
    part: &str,
) -> Result<Vec<Box<dyn Variant>>, BoxError> {
    let options = PgConnectOptions::from_str(&server.socket_url("x"))?;
    let mut variants: Vec<Box<dyn Variant>> = Vec::new();
    for (index, way) in batches::WAYS.into_iter().enumerate() {
        let name = format!("{}_{index}", database(part));
        server.create_database(&name)?;
        let options = options.clone().database(&name);
        variants.push(Box::new(batches::Batches::new(way, options).await?));
    }
    Ok(variants)
}

async fn of_duplicates(
    server: &PostgresServer,
    part: &str,
) -> Result<Vec<Box<dyn Variant>>, BoxError> {
    let options = PgConnectOptions::from_str(&server.socket_url("x"))?;
    let mut variants: Vec<Box<dyn Variant>> = Vec::new();
    for (index, way) in duplicates::WAYS.into_iter().enumerate() {
        let name = format!("{}_{index}", database(part));
        server.create_database(&name)?;
        let options = options.clone().database(&name);
        variants.push(Box::new(duplicates::Duplicates::new(way, options).await?));
    }
    Ok(variants)
}

async fn on_sqlite(folder: &Path, part: &str) -> Result<Vec<Box<dyn Variant>>, BoxError> {
    let mut variants: Vec<Box<dyn Variant>> = Vec::new();
    for (index, way) in sqlite::WAYS.into_iter().enumerate() {
        let path = folder.join(format!("{part}-{index}.db"));
        variants.push(Box::new(sqlite::Lite::new(way, path).await?));
    }
    Ok(variants)
}

async fn sqlite_version() -> Result<String, BoxError> {
    let store = SqliteStore::in_memory().await?;
    Ok(sqlx::query_scalar("select sqlite_version()").fetch_one(store.pool()).await?)
}

fn database(part: &str) -> String {
    part.replace('-', "_")
}

// Half of the 0.5 ms round trip of a cloud region.
const ONE_WAY: Duration = Duration::from_micros(250);
