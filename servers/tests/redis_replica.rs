//! Replicas of a private Redis server, with and without a sentinel.

use std::{
    thread,
    time::{Duration, Instant},
};

use tower_inbox_servers::{RedisBuilder, RedisSentinel, RedisServer};

#[test]
fn a_promoted_replica_has_what_it_received_and_takes_more() {
    let mut master = RedisServer::start().unwrap();
    let mut replica =
        RedisServer::builder().replica_of(master.port()).append_only(true).start().unwrap();
    replica.wait_for_sync().unwrap();
    master.cli(&["set", "order", "7"]).unwrap();
    replica.catch_up_with(&master).unwrap();
    assert_eq!(replica.cli(&["get", "order"]).unwrap(), "7");
    let error = replica.cli(&["set", "order", "8"]).unwrap_err();
    assert!(error.to_string().contains("READONLY"), "{error}");

    master.kill().unwrap();
    replica.promote().unwrap();
    replica.cli(&["incr", "order"]).unwrap();
    replica.restart().unwrap();
    assert_eq!(replica.cli(&["incr", "order"]).unwrap(), "9");
    replica.promote().unwrap_err();
    replica.wait_for_sync().unwrap_err();
    replica.catch_up_with(&master).unwrap_err();
}

#[test]
fn a_restarted_replica_in_memory_has_only_what_its_master_has() {
    let mut master = RedisServer::start().unwrap();
    let mut replica = RedisServer::builder().replica_of(master.port()).start().unwrap();
    master.cli(&["set", "order", "7"]).unwrap();
    replica.catch_up_with(&master).unwrap();
    replica.kill().unwrap();
    master.kill().unwrap();
    replica.restart().unwrap();
    assert_eq!(replica.cli(&["dbsize"]).unwrap(), "0");

    master.restart().unwrap();
    master.cli(&["set", "order", "8"]).unwrap();
    replica.catch_up_with(&master).unwrap();
    assert_eq!(replica.cli(&["get", "order"]).unwrap(), "8");
}

#[test]
fn a_sentinel_promotes_the_replica_of_a_dead_master() {
    fail_over(RedisServer::builder);
}

#[test]
fn a_sentinel_comes_through_tls_whomever_the_servers_let_in() {
    fail_over(|| RedisServer::builder().tls(true).user("inbox", "secret", "~inbox:* +@all"));
}

fn fail_over(builder: impl Fn() -> RedisBuilder) {
    let mut master = builder().start().unwrap();
    let replica = builder().replica_of(master.port()).start().unwrap();
    master.cli(&["set", "order", "7"]).unwrap();
    replica.catch_up_with(&master).unwrap();
    let sentinel = RedisSentinel::start("orders", &master).unwrap();
    assert_eq!(sentinel.master_port().unwrap(), master.port());
    assert_eq!(sentinel.url(), format!("redis://127.0.0.1:{}", sentinel.port()));
    assert_eq!(sentinel.master_name(), "orders");

    master.kill().unwrap();
    assert_eq!(sentinel.wait_for_failover_from(master.port()).unwrap(), replica.port());
    assert_eq!(replica.cli(&["incr", "order"]).unwrap(), "8");

    // It comes back as a replica of the other, since the sentinel tells it so.
    master.restart().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while master.wait_for_sync().is_err() {
        assert!(Instant::now() < deadline, "it is still a master");
        thread::sleep(Duration::from_millis(50));
    }
    master.catch_up_with(&replica).unwrap();
    assert_eq!(master.cli(&["get", "order"]).unwrap(), "8");
}
