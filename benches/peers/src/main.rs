//! What users would pick instead of the inbox, side by side on one private, durable PostgreSQL: how
//! many messages a second each handles with the same handler, which inserts one row, and what is left
//! of its promise when something goes wrong in the middle.
//!
//! ```text
//! npm ci --prefix benches/peers/node
//! cargo run --release --ignore-rust-version --manifest-path benches/peers/Cargo.toml
//! ```
//!
//! Parts, for `--only`: `rate-1`, `rate-8`, `faults`.

mod axum_layer;
mod bare;
mod by_hand;
mod child;
#[allow(dead_code)] // what only the inbox's own benchmark needs
#[path = "../../inbox/drive.rs"]
mod drive;
mod faults;
mod handler;
mod http;
#[cfg(feature = "idempotent")]
mod idempotent_layer;
mod node;
#[path = "../../inbox/order.rs"]
mod order;
mod ours;
mod peer;
mod rate;
#[path = "../../support/mod.rs"]
mod support;
mod valkey;

use std::{env, process::Command};

use tower_inbox::BoxError;
use tower_inbox_servers::PostgresServer;

use peer::{Peer, Place};
use support::{Args, print_machine};
use valkey::Valkey;

fn main() -> Result<(), BoxError> {
    let given: Vec<String> = env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let [first, rest @ ..] = given.as_slice()
        && first == child::VERB
    {
        return runtime.block_on(child::run(rest));
    }
    runtime.block_on(run(&Args::parse()))
}

async fn run(args: &Args) -> Result<(), BoxError> {
    let server = PostgresServer::builder().durable(true).start()?;
    let valkey = Valkey::start();
    let mut versions =
        vec![("PostgreSQL", server.psql(&server.url("postgres"), "show server_version")?)];
    match &valkey {
        Ok(valkey) => versions.push((valkey.name(), valkey.version()?)),
        Err(error) => println!("left out: `idempotent` with its Valkey store, because {error}\n"),
    }
    let mut peers: Vec<Box<dyn Peer>> =
        vec![Box::new(bare::Bare), Box::new(by_hand::ByHand), Box::new(ours::Ours)];
    #[cfg(feature = "idempotent")]
    {
        peers.push(Box::new(idempotent_layer::InMemory));
        if valkey.is_ok() {
            peers.push(Box::new(idempotent_layer::InValkey));
        }
    }
    #[cfg(not(feature = "idempotent"))]
    println!("left out: `idempotent`, which was not compiled in\n");
    peers.push(Box::new(axum_layer::AxumIdempotent));
    match node::available() {
        Ok(version) => {
            versions.push(("Node", version));
            peers.push(Box::new(node::TransactionalOutbox));
        }
        Err(why) => println!("left out: `pg-transactional-outbox`, because {why}\n"),
    }
    let mut index = 0..;
    peers.retain(|peer| args.wants_variant(index.next().unwrap_or(0), peer.name()));

    print_machine(COMMAND, args, &versions);
    for peer in &peers {
        println!("{}: {}", peer.name(), peer.version());
    }
    println!();
    let place = |name: &str| Place {
        url: server.socket_url(name),
        valkey: valkey.as_ref().ok().map(Valkey::url),
    };
    for (part, workers) in [("rate-1", 1), ("rate-8", 8)] {
        if args.wants(part) {
            let mut places = Vec::new();
            for (index, peer) in peers.iter().enumerate() {
                let name = format!("{}_{index}", part.replace('-', "_"));
                server.create_database(&name)?;
                places.push(place(&name));
                peer.prepare(&places[index]).await?;
            }
            rate::measure(part, args, workers, &peers, &places).await?;
        }
    }
    if args.wants("faults") {
        let mut places = Vec::new();
        for index in 0..peers.len() {
            let name = format!("faults_{index}");
            server.create_database(&name)?;
            places.push(place(&name));
        }
        faults::judge(&peers, &places).await?;
    }
    Ok(())
}

/// The first line that a program prints.
fn printed(program: &str, args: &[&str]) -> std::io::Result<String> {
    let output = Command::new(program).args(args).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

const COMMAND: &str =
    "cargo run --release --ignore-rust-version --manifest-path benches/peers/Cargo.toml";
