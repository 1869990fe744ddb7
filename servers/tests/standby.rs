//! A streaming replica, asked through `psql`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::Duration,
};

use tower_inbox_servers::{DelayProxy, PostgresServer};

#[test]
fn a_promoted_replica_has_what_it_received_and_takes_more() {
    let mut primary = PostgresServer::start().unwrap();
    let standby = primary.standby().start().unwrap();
    let url = standby.url("postgres");
    let ask = |sql: &str| standby.psql(&url, sql);
    primary.psql(&primary.url("postgres"), "create table charge (id int)").unwrap();
    primary.psql(&primary.url("postgres"), "insert into charge values (7)").unwrap();
    standby.catch_up_with(&primary).unwrap();
    assert_eq!(ask("select id from charge").unwrap(), "7");
    ask("insert into charge values (8)").unwrap_err();

    primary.stop_immediate().unwrap();
    standby.promote().unwrap();
    ask("insert into charge values (8)").unwrap();
    assert_eq!(ask("select sum(id) from charge").unwrap(), "15");
    standby.promote().unwrap_err();
}

#[test]
fn what_a_synchronous_replica_has_not_received_is_not_acknowledged() {
    let primary = PostgresServer::builder().durable(true).start().unwrap();
    let link = DelayProxy::start(at(primary.port()), Duration::ZERO).unwrap();
    let standby = primary.standby().synchronous(true).through(link.port()).start().unwrap();
    let url = primary.url("postgres");
    primary.psql(&url, "create table charge (id int)").unwrap();

    link.redirect(at(1));
    link.cut();
    thread::scope(|scope| {
        let commit = scope.spawn(|| primary.psql(&url, "insert into charge values (7)"));
        thread::sleep(Duration::from_millis(500));
        assert!(!commit.is_finished(), "the commit did not wait for the replica");
        link.redirect(at(primary.port()));
        commit.join().unwrap().unwrap();
    });
    standby.catch_up_with(&primary).unwrap();
    assert_eq!(standby.psql(&standby.url("postgres"), "select id from charge").unwrap(), "7");
}

fn at(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
