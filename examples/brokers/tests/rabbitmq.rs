//! Consumers of a real RabbitMQ server are killed inside their handlers, and so is the server.

mod support;

use support::{Example, ORDERS, wait_until};
use tower_inbox_servers::RabbitServer;

#[test]
fn each_order_is_booked_once_although_consumers_and_server_are_killed() {
    let mut server = RabbitServer::start().unwrap();
    let example = Example::new(env!("CARGO_BIN_EXE_rabbitmq")).set("AMQP_URL", server.url());
    example.publish();

    let mut consumers = [example.consumer(), example.consumer()];
    for kill in 0..4 {
        consumers[kill % 2].kill_inside_a_handler();
    }
    server.stop_immediate().unwrap();
    server.start_again().unwrap();
    for kill in 0..2 {
        consumers[kill % 2].kill_inside_a_handler();
    }

    example.wait_for_bookings(ORDERS);
    // The last duplicates too, and without anything that was given up as poison.
    wait_until("all is acknowledged", || {
        let queues = server.ctl(&["list_queues", "name", "messages"]).unwrap();
        queues.contains("orders\t0") && queues.contains("orders.dead\t0")
    });
    example.assert_each_booked_once(&consumers);
}
