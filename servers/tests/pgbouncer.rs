//! A private PgBouncer, asked through its administration console.

use std::net::{Ipv4Addr, TcpStream};

use tower_inbox_servers::{PgBouncer, PostgresServer};

#[test]
fn every_database_of_the_server_is_reached_through_it() {
    let server = PostgresServer::start().unwrap();
    server.create_database("orders").unwrap();
    let bouncer = PgBouncer::start(&server).unwrap();
    let sql = "select current_database(), inet_server_port()";
    let answer = server.psql(&bouncer.url("orders"), sql).unwrap();
    assert_eq!(answer, format!("orders|{}", server.port()));
}

#[test]
fn its_console_tells_how_it_pools() {
    let server = PostgresServer::start().unwrap();
    let bouncer = PgBouncer::builder(server.port()).pool_size(2).start().unwrap();
    server.psql(&bouncer.url("postgres"), "select 1").unwrap();
    let pools = bouncer.show("pools").unwrap();
    let pool = pools.iter().find(|pool| pool["database"] == "postgres").unwrap();
    assert_eq!((&*pool["pool_mode"], &*pool["sv_idle"]), ("transaction", "1"));
    let config = bouncer.show("config").unwrap();
    let size = config.iter().find(|row| row["key"] == "default_pool_size").unwrap();
    assert_eq!(size["value"], "2");
    bouncer.show("nonsense").unwrap_err();
}

#[test]
fn killed_and_started_again_it_serves_on_the_same_port() {
    let server = PostgresServer::start().unwrap();
    let mut bouncer = PgBouncer::start(&server).unwrap();
    let (url, port) = (bouncer.url("postgres"), bouncer.port());
    for _ in 0..2 {
        bouncer.kill().unwrap();
        bouncer.kill().unwrap();
        server.psql(&url, "select 1").unwrap_err();
        bouncer.start_again().unwrap();
        bouncer.start_again().unwrap();
        assert_eq!(server.psql(&url, "select 1").unwrap(), "1");
    }
    assert_eq!(bouncer.port(), port);
    drop(bouncer);
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap_err();
}

#[test]
fn a_refused_start_tells_the_end_of_the_log() {
    let server = PostgresServer::start().unwrap();
    let error = PgBouncer::builder(server.port()).setting("pool_mode", "page").start().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("pool_mode"), "{text}");
}
