//! Orders come through Kafka; each is booked once, and those of one partition in their order.
//!
//! ```text
//! export DATABASE_URL=postgres://postgres@localhost/postgres KAFKA_BROKERS=localhost:9092
//! cargo run -p tower-inbox-example-brokers --bin kafka -- publish 100
//! cargo run -p tower-inbox-example-brokers --bin kafka -- consume
//! ```
//!
//! Needs a topic `orders`, or a broker that creates topics. A process handles one message at a time;
//! start as many as there are partitions. `KAFKA_INSTANCE` is the name that a process keeps when it is
//! started again, another one for each: its partitions then wait for it, for `KAFKA_SESSION` seconds.

use std::{convert::Infallible, env, time::Duration};

use rdkafka::{
    ClientConfig, Message,
    consumer::{Consumer, StreamConsumer},
    producer::{FutureProducer, FutureRecord},
};
use tower::ServiceBuilder;
use tower_inbox::BoxError;
use tower_inbox_example_brokers::{Answer, Task, billing, book, deliver_json, deliveries, setting};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", setting("KAFKA_BROKERS", "127.0.0.1:9092".to_owned())?);
    match Task::from_args()? {
        Task::Publish(count) => publish(&client, count).await,
        Task::Consume => match consume(client).await? {},
    }
}

async fn publish(client: &ClientConfig, count: u32) -> Result<(), BoxError> {
    let producer: FutureProducer = client.create()?;
    for order in deliveries(count) {
        // One customer's orders are in one partition, and so in their order.
        let payload = serde_json::to_vec(&order)?;
        let record = FutureRecord::to("orders").key(&order.email).payload(&payload);
        producer.send(record, Duration::from_secs(10)).await.map_err(|(error, _)| error)?;
    }
    Ok(())
}

async fn consume(mut client: ClientConfig) -> Result<Infallible, BoxError> {
    let inbox = ServiceBuilder::new().layer(billing().await?).service_fn(book);
    let session: u32 = setting("KAFKA_SESSION", 45)?;
    if let Ok(instance) = env::var("KAFKA_INSTANCE") {
        client.set("group.instance.id", instance);
    }
    let consumer: StreamConsumer = client
        .set("group.id", "billing")
        .set("session.timeout.ms", (1000 * session).to_string())
        .set("heartbeat.interval.ms", (1000 * session / 5).to_string())
        .set("auto.offset.reset", "earliest")
        // What is committed every few seconds is what was stored below, and not what was fetched.
        .set("enable.auto.offset.store", "false")
        .create()?;
    consumer.subscribe(&["orders"])?;
    loop {
        let message = match consumer.recv().await {
            Ok(message) => message,
            // Such as another process of the same instance.
            Err(error) if consumer.client().fatal_error().is_some() => return Err(error.into()),
            // The client reconnects by itself.
            Err(error) => {
                eprintln!("kafka: {error}");
                continue;
            }
        };
        let payload = message.payload().unwrap_or_default();
        let mut pause = Duration::from_secs(1);
        loop {
            match deliver_json(inbox.clone(), payload).await {
                Answer::Acknowledge => break,
                // Going on would break the order, and the next commit would skip the message. Kafka
                // delivers nothing again by itself, so this is where it is tried again.
                Answer::Later => tokio::time::sleep(Duration::from_secs(1)).await,
                Answer::Failed => {
                    tokio::time::sleep(pause).await;
                    pause = (2 * pause).min(Duration::from_secs(60));
                }
                // A program that must not lose it writes it to a topic of its own, and waits for
                // the answer, before it goes on.
                Answer::Unreadable => break,
            }
        }
        // After the commit in the database: what dies in between makes a duplicate. An error means
        // that the partition went to another member of the group while we were busy.
        if let Err(error) = consumer.store_offset_from_message(&message) {
            eprintln!("kafka: {error}");
        }
    }
}
