use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::time::sleep;
use tower::{Service, ServiceExt};
use tower_inbox::{BoxError, Outcome, hook::BoxFuture};

use crate::{
    order::OrderPlaced,
    support::{Processors, Usage},
};

/// Handles one message after the other, or batches.
pub(crate) trait Worker: Send {
    fn handle(&mut self, order: OrderPlaced) -> BoxFuture<'_, Result<(), BoxError>>;

    /// How many messages one call handles.
    fn messages(&self) -> usize {
        1
    }
}

/// What a variant did in one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) messages_per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Processor time per message, in microseconds.
    pub(crate) client_us: f64,
    pub(crate) server_us: f64,
    /// The share of the machine that other processes used meanwhile.
    pub(crate) others: f64,
}

/// Lets all workers handle messages as fast as they can, and measures after they have warmed up.
pub(crate) async fn drive(workers: Vec<Box<dyn Worker>>, slice: Duration) -> Sample {
    let phase = Arc::new(AtomicU8::new(WARM_UP));
    let at_once = workers.first().map_or(1, |worker| worker.messages());
    let processors = Processors::watch();
    let tasks: Vec<_> = workers
        .into_iter()
        .map(|mut worker| {
            let phase = Arc::clone(&phase);
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                let mut warm_up = 0;
                loop {
                    let started = Instant::now();
                    worker.handle(OrderPlaced::next()).await.expect("the message is handled");
                    match phase.load(Ordering::Relaxed) {
                        WARM_UP => warm_up += 1,
                        MEASURE => latencies.push(started.elapsed()),
                        _ => return (warm_up, latencies),
                    }
                }
            })
        })
        .collect();

    sleep((slice / 4).max(Duration::from_millis(100))).await;
    phase.store(MEASURE, Ordering::Relaxed);
    let started = Instant::now();
    sleep(slice).await;
    phase.store(STOP, Ordering::Relaxed);
    let measured = started.elapsed();

    let mut latencies = Vec::new();
    let mut warm_up = 0;
    for task in tasks {
        let (before, measured) = task.await.expect("the worker ends");
        warm_up += before;
        latencies.extend(measured);
    }
    latencies.sort_unstable();
    let Usage { client, server, others } = processors.usage();
    #[allow(clippy::cast_precision_loss)] // some hundred thousands
    let [messages, all] =
        [latencies.len(), warm_up + latencies.len()].map(|calls| (calls * at_once) as f64);
    Sample {
        messages_per_second: messages / measured.as_secs_f64(),
        p50_ms: percentile(&latencies, 50),
        p99_ms: percentile(&latencies, 99),
        client_us: client * 1e6 / all,
        server_us: server * 1e6 / all,
        others,
    }
}

/// The worker that calls a service, as a consumer does.
pub(crate) struct Calling<S>(pub(crate) S);

impl<S> Worker for Calling<S>
where
    S: Service<OrderPlaced, Response = Outcome<()>, Error = BoxError> + Send,
    S::Future: Send,
{
    fn handle(&mut self, order: OrderPlaced) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            let outcome = self.0.ready().await?.call(order).await?;
            assert_eq!(outcome, Outcome::Handled(()));
            Ok(())
        })
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(place).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
}

const WARM_UP: u8 = 0;
const MEASURE: u8 = 1;
const STOP: u8 = 2;
