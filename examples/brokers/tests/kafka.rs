//! A consumer of Kafka is killed inside its handler.
//!
//! Kafka itself wants a Java machine and is in no Debian. What stands in for it is the broker that
//! librdkafka brings along for tests: real sockets, partitions, offsets and consumer groups, with the
//! log in this process.

mod support;

use std::time::Duration;

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    mocking::MockCluster,
};
use support::{Example, wait_until};

#[test]
fn each_order_is_booked_once_and_in_order_although_the_consumer_is_killed() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("orders", PARTITIONS, 1).unwrap();
    // One message at a time, so fewer of them.
    let example = Example::new(env!("CARGO_BIN_EXE_kafka"), 30)
        .set("KAFKA_BROKERS", cluster.bootstrap_servers())
        .set("KAFKA_INSTANCE", "billing-1")
        .set("KAFKA_SESSION", "4");
    example.publish();

    let mut consumer = example.consumer();
    for _ in 0..2 {
        consumer.kill_inside_a_handler();
    }

    example.wait_until_all_are_booked();
    // The last duplicates too.
    wait_until("all offsets are committed", || uncommitted(&cluster.bootstrap_servers()) == 0);
    example.assert_each_booked_once(&[consumer]);
    let out_of_order = "select count(*) from (select order_id <
            lag(order_id) over (partition by order_id % 7 order by id) as late from booking) as orders
        where late";
    assert_eq!(example.psql(out_of_order).unwrap(), "0", "orders of one customer out of order");
}

/// How many messages are not declared as done by the group.
fn uncommitted(brokers: &str) -> i64 {
    let timeout = Duration::from_secs(10);
    let group: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "billing")
        .create()
        .unwrap();
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_range("orders", 0, PARTITIONS - 1);
    let committed = group.committed_offsets(partitions, timeout).unwrap();
    let left = committed.elements().into_iter().map(|partition| {
        let (first, end) =
            group.fetch_watermarks("orders", partition.partition(), timeout).unwrap();
        match partition.offset() {
            Offset::Offset(done) => end - done,
            _ => end - first,
        }
    });
    left.sum()
}

const PARTITIONS: i32 = 4;
