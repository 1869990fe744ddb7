use std::{path::Path, process::Stdio, time::Duration};

use serde_json::{Value, json};
use sqlx::{PgPool, postgres::PgConnectOptions};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{Instant, sleep},
};
use tower_inbox::{BoxError, hook::BoxFuture};
use uuid::Uuid;

use crate::{
    drive::Sample,
    handler::{Behaviour, TABLES},
    order::OrderPlaced,
    peer::{Peer, Place, Receiver, Told},
    printed,
    support::{Processors, Usage},
};

/// `pg-transactional-outbox` for Node: messages are stored in a table first, and handled by a listener
/// that polls it.
pub(crate) struct TransactionalOutbox;

/// The version of Node, if the package can run in it; else the reason.
pub(crate) fn available() -> Result<String, String> {
    let version = printed("node", &["--version"]).map_err(|_| "node is not there".to_owned())?;
    if Path::new(FOLDER).join("node_modules/pg-transactional-outbox").exists() {
        Ok(version)
    } else {
        Err("it is not installed: npm ci --prefix benches/peers/node".to_owned())
    }
}

impl Peer for TransactionalOutbox {
    fn name(&self) -> &'static str {
        "`pg-transactional-outbox`"
    }

    fn version(&self) -> String {
        let manifest = Path::new(FOLDER).join("node_modules/pg-transactional-outbox/package.json");
        let manifest = std::fs::read_to_string(manifest).unwrap_or_default();
        let manifest: Value = serde_json::from_str(&manifest).unwrap_or_default();
        format!(
            "pg-transactional-outbox {}, polling listener, parallel messages",
            manifest["version"].as_str().unwrap_or("unknown")
        )
    }

    fn prepare<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            sqlx::raw_sql(TABLES).execute(&place.pool(1).await?).await?;
            let mut node = Node::start(place, Behaviour::plain(1), true).await?;
            node.stop().await
        })
    }

    fn open<'a>(
        &'a self,
        place: &'a Place,
        behaviour: Behaviour,
    ) -> BoxFuture<'a, Result<Vec<Box<dyn Receiver>>, BoxError>> {
        Box::pin(async move {
            // One process for each, as the instances of a service.
            let mut receivers: Vec<Box<dyn Receiver>> = Vec::new();
            for _ in 0..behaviour.workers {
                let alone = Behaviour { workers: 1, ..behaviour };
                let node = Node::start(place, alone, false).await?;
                receivers.push(Box::new(Storing { node, pool: place.pool(1).await? }));
            }
            Ok(receivers)
        })
    }

    /// Messages that it stored and processed, of a stock that is never empty nor large: it polls, and
    /// looks through all that waits.
    fn sample<'a>(
        &'a self,
        place: &'a Place,
        workers: usize,
        slice: Duration,
    ) -> BoxFuture<'a, Result<Sample, BoxError>> {
        Box::pin(async move {
            let mut node = Node::start(place, Behaviour::plain(workers), false).await?;
            let processors = Processors::watch();
            let seconds = slice.as_secs_f64();
            let warm_up = (slice / 4).max(Duration::from_millis(500)).as_secs_f64();
            let answer =
                node.ask(&json!({ "drive": { "seconds": seconds, "warm_up": warm_up } })).await?;
            let Usage { client, server, others } = processors.usage();
            node.stop().await?;
            let number = |name: &str| answer[name].as_f64().ok_or("no number");
            let messages = number("messages")?;
            Ok(Sample {
                messages_per_second: number("measured")? / number("seconds")?,
                p50_ms: f64::NAN,
                p99_ms: f64::NAN,
                client_us: client * 1e6 / messages,
                server_us: server * 1e6 / messages,
                others,
            })
        })
    }

    fn handles_in_the_call(&self) -> bool {
        false
    }

    fn dies_alone(&self) -> bool {
        true
    }
}

/// Stores a message, and waits until it is processed or nothing can process it any more.
struct Storing {
    node: Node,
    pool: PgPool,
}

impl Receiver for Storing {
    fn deliver(&mut self, order: OrderPlaced) -> BoxFuture<'_, Result<Told, BoxError>> {
        Box::pin(async move {
            let OrderPlaced { order_id, email, cents } = &order;
            let id = Uuid::from(order.key());
            let body = json!({ "order_id": order_id, "email": email, "cents": cents });
            self.node.ask(&json!({ "id": id, "order": body })).await?;
            let began = Instant::now();
            loop {
                let processed: bool = sqlx::query_scalar(
                    "select processed_at is not null or abandoned_at is not null \
                     from inbox where id = $1",
                )
                .bind(id)
                .fetch_one(&self.pool)
                .await?;
                if processed {
                    return Ok(Told::Stored);
                }
                if self.node.child.try_wait()?.is_some() {
                    return Err("its process died".into());
                }
                if began.elapsed() > PATIENCE {
                    return Err("it was not processed".into());
                }
                sleep(Duration::from_millis(20)).await;
            }
        })
    }
}

/// The script as a process.
struct Node {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Node {
    async fn start(place: &Place, behaviour: Behaviour, setup: bool) -> Result<Self, BoxError> {
        let options: PgConnectOptions = place.url.parse()?;
        let host = options.get_socket().map_or_else(
            || options.get_host().to_owned(),
            |socket| socket.to_string_lossy().into_owned(),
        );
        let Behaviour { workers, counts, swallows, pause, dies } = behaviour;
        let peer = json!({
            "workers": workers,
            "counts": counts,
            "swallows": swallows,
            "pause_ms": u64::try_from(pause.as_millis())?,
            "dies": dies,
            "setup": setup,
        });
        let mut child = Command::new("node")
            .arg(Path::new(FOLDER).join("inbox.mjs"))
            .env("PEER", peer.to_string())
            .env("PGHOST", host)
            .env("PGPORT", options.get_port().to_string())
            .env("PGDATABASE", options.get_database().unwrap_or_default())
            .env("PGUSER", options.get_username())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or("no output")?;
        let mut node = Self { child, stdin, stdout: BufReader::new(stdout).lines() };
        node.stdout.next_line().await?.ok_or("the script does not start")?;
        Ok(node)
    }

    async fn ask(&mut self, line: &Value) -> Result<Value, BoxError> {
        let stdin = self.stdin.as_mut().ok_or("it was stopped")?;
        stdin.write_all(format!("{line}\n").as_bytes()).await?;
        let answer = self.stdout.next_line().await?.ok_or("its process died")?;
        Ok(serde_json::from_str(&answer)?)
    }

    async fn stop(&mut self) -> Result<(), BoxError> {
        drop(self.stdin.take());
        let status = self.child.wait().await?;
        if status.success() { Ok(()) } else { Err(format!("the script ended: {status}").into()) }
    }
}

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/node");
const PATIENCE: Duration = Duration::from_secs(30);
