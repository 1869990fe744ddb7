//! Orders come as jobs of apalis, in the same PostgreSQL as the inbox; each is booked once.
//!
//! ```text
//! export DATABASE_URL=postgres://postgres@localhost/postgres
//! cargo run -p tower-inbox-example-brokers --bin apalis -- publish 100
//! cargo run -p tower-inbox-example-brokers --bin apalis -- consume
//! ```
//!
//! `APALIS_HEARTBEAT` is the seconds between two signs of life of a worker; after three without one
//! its jobs come again.

use std::time::{Duration, SystemTime};

use apalis::prelude::{
    AbortError, BoxDynError, Task as Job, TaskSink, WorkerBuilder, WorkerBuilderExt,
};
use apalis_postgres::{Config, PostgresStorage};
use tower::{ServiceBuilder, service_fn};
use tower_inbox::BoxError;
use tower_inbox_example_brokers::{
    Answer, CONCURRENCY, OrderPlaced, Task, billing, book, deliver, deliveries, setting,
};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let layer = billing().await?;
    let pool = layer.store().pool().clone();
    PostgresStorage::setup(&pool).await?;
    let config = Config::default()
        .queue("orders")
        .batch_size(CONCURRENCY)
        .heartbeat_interval(Duration::from_secs(setting("APALIS_HEARTBEAT", 30)?))
        .missed_heartbeats(3);
    let mut storage = PostgresStorage::<OrderPlaced>::new(&pool).with_config(config);

    match Task::from_args()? {
        Task::Publish(count) => {
            for order in deliveries(count) {
                storage.push(order).await?;
            }
        }
        Task::Consume => {
            let inbox = ServiceBuilder::new().layer(layer).service_fn(book);
            let service = service_fn(move |job: Job<OrderPlaced>| {
                let inbox = inbox.clone();
                async move {
                    let attempt = job.ctx().attempt();
                    let mut answer = deliver(inbox.clone(), job.args.clone()).await;
                    // Given back, the job would be fetched again at once, and one attempt poorer.
                    while answer == Answer::Later {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        answer = deliver(inbox.clone(), job.args.clone()).await;
                    }
                    acknowledge(answer, attempt).await
                }
            });
            WorkerBuilder::new(worker_name()?)
                .backend(storage)
                .concurrency(CONCURRENCY)
                .build(service)
                .run()
                .await?;
        }
    }
    Ok(())
}

/// What the service returns is what becomes of the job.
async fn acknowledge(answer: Answer, attempt: usize) -> Result<(), BoxDynError> {
    match answer {
        Answer::Acknowledge => Ok(()),
        Answer::Later | Answer::Failed => {
            // A failed job is fetched again at once, until its attempts are used up.
            let seconds = u64::try_from(attempt)?.clamp(1, 60);
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Err("the order was not booked".into())
        }
        // Not again, whatever attempts are left.
        Answer::Unreadable => Err(AbortError::new("the order cannot be read").into()),
    }
}

/// Another one for each process: the jobs of a worker that died come again when *its* name has not
/// been heard of for a while. Under the same name, its successor would keep them locked for good.
fn worker_name() -> Result<String, BoxError> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(format!("billing-{}-{}", std::process::id(), now.as_nanos()))
}
