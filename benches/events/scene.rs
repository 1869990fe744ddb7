use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{Pipeline, aio::MultiplexedConnection};
use tower_inbox::{
    BoxError,
    events::{DeduplicationConfig, EventDeduplicator, EventIdExtractor},
};
use tower_inbox_servers::RedisServer;

/// The text of a UUID, which is what most events have.
pub(crate) fn id_of(number: u64) -> String {
    // As random numbers look: no two of them share a beginning.
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    uuid::Uuid::from_u64_pair(mixed, number.rotate_left(32) ^ mixed.swap_bytes()).to_string()
}

/// Numbers that nobody has had before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Numbers(Arc<AtomicU64>);

impl Numbers {
    pub(crate) fn take(&self, count: u64) -> std::ops::Range<u64> {
        let start = self.0.fetch_add(count, Ordering::Relaxed);
        start..start + count
    }
}

/// A deduplicator of texts.
pub(crate) async fn texts(
    url: &str,
    namespace: &str,
    window: Duration,
    slot: Duration,
    expected: u64,
) -> Result<EventDeduplicator<String>, BoxError> {
    let config = DeduplicationConfig::builder()
        .redis_url(url)
        .namespace(namespace)
        .window(window)
        .slot(slot)
        .expected_events(expected)
        .build()?;
    let by_text = EventIdExtractor::string(String::clone);
    Ok(EventDeduplicator::new(config, by_text).await?)
}

/// Seconds of processor time that a server has used.
pub(crate) fn cpu(server: &RedisServer) -> f64 {
    let info = server.cli(&["INFO", "cpu"]).expect("a server that runs");
    let field = |name: &str| -> f64 {
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse().ok()).expect("a number")
    };
    field("used_cpu_sys:") + field("used_cpu_user:")
}

pub(crate) fn used_memory(server: &RedisServer) -> u64 {
    let info = server.cli(&["INFO", "memory"]).expect("a server that runs");
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    line.and_then(|value| value.trim().parse().ok()).expect("a number")
}

pub(crate) async fn connect(url: &str) -> Result<MultiplexedConnection, BoxError> {
    let config = redis::AsyncConnectionConfig::new()
        .set_response_timeout(Some(Duration::from_secs(60)))
        .set_connection_timeout(Some(Duration::from_secs(60)));
    let client = redis::Client::open(url)?;
    Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
}

/// The plain way for a batch: a key for each event.
pub(crate) async fn set_all(
    connection: &mut MultiplexedConnection,
    numbers: std::ops::Range<u64>,
    window: Duration,
) -> Result<usize, BoxError> {
    let mut pipe = Pipeline::with_capacity(usize::try_from(numbers.end - numbers.start)?);
    for number in numbers {
        pipe.cmd("SET")
            .arg(format!("dedup:{}", id_of(number)))
            .arg(1)
            .arg("NX")
            .arg("PX")
            .arg(u64::try_from(window.as_millis())?);
    }
    let set: Vec<Option<String>> = pipe.query_async(connection).await?;
    Ok(set.iter().flatten().count())
}

/// What workers did until the time was over.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) events: u64,
    pub(crate) latencies: Vec<Duration>,
    pub(crate) took: Duration,
}

impl Done {
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn per_second(&self) -> f64 {
        self.events as f64 / self.took.as_secs_f64()
    }

    pub(crate) fn percentile(&mut self, part: f64) -> Duration {
        self.latencies.sort_unstable();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss
        )]
        let at = (self.latencies.len() as f64 * part) as usize;
        self.latencies[at.min(self.latencies.len() - 1)]
    }
}

/// Lets tasks do the same again and again for a time. Each time says how many events it was.
pub(crate) async fn drive<W, F>(tasks: usize, time: Duration, work: W) -> Result<Done, BoxError>
where
    W: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = Result<u64, BoxError>> + Send,
{
    let start = Instant::now();
    let workers: Vec<_> = (0..tasks)
        .map(|_| {
            let work = work.clone();
            tokio::spawn(async move {
                let mut done = Done::default();
                while start.elapsed() < time {
                    let begun = Instant::now();
                    done.events += work().await?;
                    done.latencies.push(begun.elapsed());
                }
                Ok::<_, BoxError>(done)
            })
        })
        .collect();
    let mut all = Done::default();
    for worker in workers {
        let done = worker.await??;
        all.events += done.events;
        all.latencies.extend(done.latencies);
    }
    all.took = start.elapsed();
    Ok(all)
}

/// Requests per second of `redis-benchmark`, which has no answers to look at.
pub(crate) async fn redis_benchmark(
    port: u16,
    more: &[&str],
    command: &[&str],
) -> Result<f64, BoxError> {
    let output = tokio::process::Command::new("redis-benchmark")
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "--csv"])
        .args(more)
        .args(command)
        .output()
        .await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rate = text.lines().last().and_then(|line| line.split('"').nth(3)?.parse().ok());
    rate.ok_or_else(|| format!("redis-benchmark said {text}").into())
}
