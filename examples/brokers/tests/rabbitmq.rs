//! Consumers of a real RabbitMQ server are killed inside their handlers, and so is the server.

mod support;

use std::{
    thread,
    time::{Duration, Instant},
};

use lapin::{BasicProperties, Connection, ConnectionProperties, options::BasicPublishOptions};
use support::{Example, wait_until};
use tower_inbox_servers::RabbitServer;

#[test]
fn each_order_is_booked_once_although_consumers_and_server_are_killed() {
    let mut server = RabbitServer::start().unwrap();
    let example = Example::new(env!("CARGO_BIN_EXE_rabbitmq"), 300).set("AMQP_URL", server.url());
    example.publish();
    publish_unreadable(&server);

    let mut consumers = [example.consumer(), example.consumer()];
    for kill in 0..4 {
        consumers[kill % 2].kill_inside_a_handler();
    }
    restart(&mut server);
    for kill in 0..2 {
        consumers[kill % 2].kill_inside_a_handler();
    }

    example.wait_until_all_are_booked();
    // The last duplicates too; nothing was given up but the unreadable message.
    wait_until("all is acknowledged", || {
        let queues = server.ctl(&["list_queues", "name", "messages"]).unwrap();
        queues.contains("orders\t0") && queues.contains("orders.dead\t1")
    });
    example.assert_each_booked_once(&consumers);
}

/// Kills the server and starts it again.
///
/// A server that was killed while its quorum queues changed their leader may come up without them,
/// and then it takes another start; what was confirmed is not lost.
fn restart(server: &mut RabbitServer) {
    for _ in 0..4 {
        server.stop_immediate().unwrap();
        server.start_again().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            let queues = server.ctl(&["list_queues", "--timeout", "10", "name", "state"]);
            let runs = |queue| {
                let is = |state| {
                    queues.as_ref().is_ok_and(|it| it.contains(&format!("{queue}\t{state}")))
                };
                is("running") || is("idle")
            };
            if runs("orders") && runs("orders.dead") {
                return;
            }
            eprintln!("queues after the restart: {queues:?}");
            thread::sleep(Duration::from_secs(1));
        }
    }
    panic!("the queues did not come back");
}

#[tokio::main(flavor = "current_thread")]
async fn publish_unreadable(server: &RabbitServer) {
    let properties = ConnectionProperties::default();
    let connection = Connection::connect(&server.url(), properties).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let persistent = BasicProperties::default().with_delivery_mode(2);
    let options = BasicPublishOptions::default();
    channel
        .basic_publish("".into(), "orders".into(), options, b"not an order", persistent)
        .await
        .unwrap();
    connection.close(200, "done".into()).await.unwrap();
}
