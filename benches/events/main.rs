//! What an event costs on Redis: memory, throughput, latency and processor time of a private server,
//! against `redis-benchmark` and the plain way (`SET key 1 NX PX` for each event) in the same run.
//!
//! Parts, for `--only`: `memory`, `batches`, `singles`, `claims`, `latency`, `expiry`, `cluster`.

mod memory;
mod rates;
mod scene;
#[path = "../support/mod.rs"]
mod support;

use tower_inbox::BoxError;
use tower_inbox_servers::RedisServer;

use support::{Args, locked, print_machine};

fn main() -> Result<(), BoxError> {
    let args = Args::parse();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(&args))
}

async fn run(args: &Args) -> Result<(), BoxError> {
    let server = RedisServer::start()?;
    let info = server.cli(&["INFO", "server"])?;
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
    let versions = [
        ("Redis", version.unwrap_or("unknown").trim().to_owned()),
        ("the crate redis", locked("redis")),
    ];
    drop(server);
    print_machine("cargo bench --features redis --bench events", args, &versions);

    if args.wants("memory") {
        memory::bytes(args).await?;
    }
    if args.wants("batches") {
        rates::batches(args).await?;
    }
    if args.wants("singles") {
        rates::singles(args).await?;
    }
    if args.wants("claims") {
        rates::claims(args).await?;
    }
    if args.wants("latency") {
        rates::latency(args).await?;
    }
    if args.wants("expiry") {
        memory::expiry(args).await?;
    }
    if args.wants("cluster") {
        rates::cluster(args).await?;
    }
    Ok(())
}
