//! Consumers of a real NATS server are killed inside their handlers, and so is the server.

mod support;

use std::time::Duration;

use async_nats::jetstream::{self, consumer::PullConsumer};
use support::{Example, wait_until};
use tower_inbox_servers::NatsServer;

#[test]
fn each_order_is_booked_once_although_consumers_and_server_are_killed() {
    let mut server = NatsServer::start().unwrap();
    let example = Example::new(env!("CARGO_BIN_EXE_nats"), 300)
        .set("NATS_URL", server.url())
        .set("NATS_ACK_WAIT", "2");
    example.publish();
    publish_unreadable(&server);

    let mut consumers = [example.consumer(), example.consumer()];
    for kill in 0..4 {
        consumers[kill % 2].kill_inside_a_handler();
    }
    server.stop_immediate().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    server.start_again().unwrap();
    for kill in 0..2 {
        consumers[kill % 2].kill_inside_a_handler();
    }

    example.wait_until_all_are_booked();
    // The last duplicates too.
    wait_until("all is acknowledged", || unacknowledged(&server) == 0);
    example.assert_each_booked_once(&consumers);
}

#[tokio::main(flavor = "current_thread")]
async fn publish_unreadable(server: &NatsServer) {
    let client = async_nats::connect(server.url()).await.unwrap();
    let jetstream = jetstream::new(client);
    jetstream.publish("orders.placed", "not an order".into()).await.unwrap().await.unwrap();
}

#[tokio::main(flavor = "current_thread")]
async fn unacknowledged(server: &NatsServer) -> u64 {
    let client = async_nats::connect(server.url()).await.unwrap();
    let stream = jetstream::new(client).get_stream("orders").await.unwrap();
    let mut consumer: PullConsumer = stream.get_consumer("billing").await.unwrap();
    let info = consumer.info().await.unwrap();
    info.num_pending + info.num_ack_pending as u64
}
