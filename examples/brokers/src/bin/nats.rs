//! Orders come through NATS JetStream; each is booked once.
//!
//! ```text
//! nats-server --jetstream &
//! export DATABASE_URL=postgres://postgres@localhost/postgres
//! cargo run -p tower-inbox-example-brokers --bin nats -- publish 100
//! cargo run -p tower-inbox-example-brokers --bin nats -- consume
//! ```
//!
//! `NATS_URL` names another server, `NATS_ACK_WAIT` the seconds after which a delivery without an
//! answer comes again.

use std::{convert::Infallible, time::Duration};

use async_nats::{
    ConnectOptions,
    jetstream::{
        self, AckKind, Context, Message,
        consumer::{PullConsumer, pull},
        stream::{self, Stream},
    },
};
use futures_util::StreamExt;
use tower::{Service, ServiceBuilder};
use tower_inbox::{BoxError, Outcome};
use tower_inbox_example_brokers::{
    Answer, CONCURRENCY, OrderPlaced, Task, billing, book, deliver_json, deliveries, setting,
};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // Waits for a server that is not there yet, as the client does later for one that goes away.
    let client = ConnectOptions::new()
        .retry_on_initial_connect()
        .connect(setting("NATS_URL", "127.0.0.1:4222".to_owned())?)
        .await?;
    let jetstream = jetstream::new(client);
    match Task::from_args()? {
        Task::Publish(count) => publish(&jetstream, count).await,
        Task::Consume => match consume(&jetstream).await? {},
    }
}

async fn publish(jetstream: &Context, count: u32) -> Result<(), BoxError> {
    orders(jetstream).await?;
    for order in deliveries(count) {
        let payload = serde_json::to_vec(&order)?;
        // The second wait is for the server to say that it has the message.
        jetstream.publish("orders.placed", payload.into()).await?.await?;
    }
    Ok(())
}

async fn consume(jetstream: &Context) -> Result<Infallible, BoxError> {
    let inbox = ServiceBuilder::new().layer(billing().await?).service_fn(book);
    loop {
        if let Err(error) = consume_until_it_ends(jetstream, &inbox).await {
            eprintln!("nats: {error}");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn consume_until_it_ends<S>(jetstream: &Context, inbox: &S) -> Result<(), BoxError>
where
    S: Service<OrderPlaced, Response = Outcome<()>, Error = BoxError> + Clone,
{
    let consumer: PullConsumer = orders(jetstream)
        .await?
        .create_consumer(pull::Config {
            durable_name: Some("billing".into()),
            // Longer than the slowest handler, or else its message is delivered once more while it
            // is at work; that is safe, the inbox answers `InFlight`, but of no use.
            ack_wait: Duration::from_secs(setting("NATS_ACK_WAIT", 30)?),
            // As often as it takes. A limit would not put the message anywhere: it would stay in the
            // stream, undelivered, without anybody noticing.
            max_deliver: -1,
            ..Default::default()
        })
        .await?;
    // The time to answer runs from the moment the server sends, so no more than what can be handled
    // soon is asked for at once.
    let messages = consumer
        .stream()
        .max_messages_per_batch(2 * CONCURRENCY)
        .heartbeat(Duration::from_secs(5))
        .messages()
        .await?;
    messages
        .for_each_concurrent(CONCURRENCY, |message| async move {
            match message {
                Ok(message) => {
                    let answer = deliver_json(inbox.clone(), &message.payload).await;
                    acknowledge(&message, answer).await;
                }
                // The server is away, or was; what can go on goes on by itself.
                Err(error) => eprintln!("nats: {error}"),
            }
        })
        .await;
    Ok(())
}

async fn orders(jetstream: &Context) -> Result<Stream, BoxError> {
    let config = stream::Config {
        name: "orders".into(),
        subjects: vec!["orders.placed".into()],
        ..Default::default()
    };
    Ok(jetstream.get_or_create_stream(config).await?)
}

async fn acknowledge(message: &Message, answer: Answer) {
    let kind = match answer {
        Answer::Acknowledge => AckKind::Ack,
        Answer::Later => AckKind::Nak(Some(Duration::from_secs(1))),
        Answer::Failed => {
            let deliveries = message.info().map_or(1, |info| info.delivered);
            AckKind::Nak(Some(Duration::from_secs(deliveries.clamp(1, 60).unsigned_abs())))
        }
        Answer::Unreadable => AckKind::Term,
    };
    // An answer that is lost brings the message again, as a duplicate.
    if let Err(error) = message.ack_with(kind).await {
        eprintln!("nats: {error}");
    }
}
