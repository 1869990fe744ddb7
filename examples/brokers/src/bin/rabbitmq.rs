//! Orders come through RabbitMQ; each is booked once.
//!
//! ```text
//! rabbitmq-server &
//! export DATABASE_URL=postgres://postgres@localhost/postgres
//! cargo run -p tower-inbox-example-brokers --bin rabbitmq -- publish 100
//! cargo run -p tower-inbox-example-brokers --bin rabbitmq -- consume
//! ```
//!
//! `AMQP_URL` names another server.

use std::{convert::Infallible, time::Duration};

use futures_util::TryStreamExt;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, Consumer,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicPublishOptions,
        BasicQosOptions, BasicRejectOptions, ConfirmSelectOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
};
use tower::{Service, ServiceBuilder};
use tower_inbox::{BoxError, Outcome};
use tower_inbox_example_brokers::{
    Answer, CONCURRENCY, OrderPlaced, Task, billing, book, deliver_json, deliveries, setting,
};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    match Task::from_args()? {
        Task::Publish(count) => publish(count).await,
        Task::Consume => match consume().await? {},
    }
}

async fn publish(count: u32) -> Result<(), BoxError> {
    let (_connection, channel) = connect().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    for order in deliveries(count) {
        let payload = serde_json::to_vec(&order)?;
        let persistent = BasicProperties::default().with_delivery_mode(2);
        let options = BasicPublishOptions::default();
        // The second wait is for the server to say that it has the message.
        let confirmation = channel
            .basic_publish("".into(), "orders".into(), options, &payload, persistent)
            .await?
            .await?;
        if !confirmation.is_ack() {
            return Err("the server did not take a message".into());
        }
    }
    Ok(())
}

async fn consume() -> Result<Infallible, BoxError> {
    let inbox = ServiceBuilder::new().layer(billing().await?).service_fn(book);
    loop {
        // What was being handled when the connection broke is given up, which rolls it back: the
        // server delivers it again, here or elsewhere.
        if let Err(error) = consume_until_disconnected(&inbox).await {
            eprintln!("rabbitmq: {error}");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn consume_until_disconnected<S>(inbox: &S) -> Result<(), BoxError>
where
    S: Service<OrderPlaced, Response = Outcome<()>, Error = BoxError> + Clone,
{
    // A server whose queues have lost their leader may leave a question without an answer.
    let (_connection, consumer) =
        tokio::time::timeout(Duration::from_secs(20), subscribe()).await??;
    consumer
        .map_err(BoxError::from)
        .try_for_each_concurrent(CONCURRENCY, |delivery| async move {
            let mut answer = deliver_json(inbox.clone(), &delivery.data).await;
            // A requeue would come back at once and count as a failure.
            while answer == Answer::Later {
                tokio::time::sleep(Duration::from_secs(1)).await;
                answer = deliver_json(inbox.clone(), &delivery.data).await;
            }
            acknowledge(&delivery, answer).await
        })
        .await
}

async fn subscribe() -> Result<(Connection, Consumer), BoxError> {
    let (connection, channel) = connect().await?;
    // Without a limit, the first consumer gets the whole queue, and a crash of it redelivers all.
    let prefetch = u16::try_from(CONCURRENCY)?;
    channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let consumer =
        channel.basic_consume("orders".into(), "".into(), options, FieldTable::default()).await?;
    Ok((connection, consumer))
}

async fn acknowledge(delivery: &Delivery, answer: Answer) -> Result<(), BoxError> {
    match answer {
        Answer::Acknowledge => delivery.ack(BasicAckOptions::default()).await?,
        Answer::Later | Answer::Failed => {
            // What is requeued is delivered again at once, so the pause is made here. Meanwhile it
            // counts against the prefetch, so no more than that many failures turn in circles.
            tokio::time::sleep(Duration::from_secs(earlier_deliveries(delivery).clamp(1, 60)))
                .await;
            delivery.nack(BasicNackOptions { requeue: true, ..Default::default() }).await?
        }
        // To the queue `orders.dead`.
        Answer::Unreadable => delivery.reject(BasicRejectOptions { requeue: false }).await?,
    };
    Ok(())
}

/// As a quorum queue counts them.
fn earlier_deliveries(delivery: &Delivery) -> u64 {
    let headers = delivery.properties.headers().as_ref();
    match headers.and_then(|headers| headers.inner().get("x-delivery-count")) {
        Some(AMQPValue::LongLongInt(count)) => count.unsigned_abs(),
        _ => 0,
    }
}

/// Connects, and declares the queues. A connection that is dropped is closed.
async fn connect() -> Result<(Connection, Channel), BoxError> {
    let url = setting("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2f".to_owned())?;
    let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let text = |text: &str| AMQPValue::LongString(text.into());

    let mut dead = FieldTable::default();
    dead.insert("x-queue-type".into(), text("quorum"));
    let durable = QueueDeclareOptions::durable();
    channel.queue_declare("orders.dead".into(), durable, dead).await?;

    // A quorum queue counts deliveries, and moves what failed too often to the other queue, in such
    // a way that a crash in between does not lose it.
    let mut orders = FieldTable::default();
    orders.insert("x-queue-type".into(), text("quorum"));
    orders.insert("x-delivery-limit".into(), AMQPValue::LongInt(20));
    orders.insert("x-dead-letter-exchange".into(), text(""));
    orders.insert("x-dead-letter-routing-key".into(), text("orders.dead"));
    orders.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    orders.insert("x-overflow".into(), text("reject-publish"));
    channel.queue_declare("orders".into(), durable, orders).await?;
    Ok((connection, channel))
}
