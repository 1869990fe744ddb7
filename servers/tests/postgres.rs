//! A private PostgreSQL server, asked through `psql`.

use std::{collections::HashSet, thread};

use tower_inbox_servers::PostgresServer;

#[test]
fn a_new_database_answers_over_tcp_and_over_the_socket() {
    let server = PostgresServer::start().unwrap();
    let name = "orders of \"today\"";
    server.create_database(name).unwrap();

    let sql = "select 1, current_database(), inet_server_port()";
    let over_tcp = server.psql(&server.url(name), sql).unwrap();
    assert_eq!(over_tcp, format!("1|{name}|{}", server.port()));
    let over_socket = server.psql(&server.socket_url(name), sql).unwrap();
    assert_eq!(over_socket, format!("1|{name}|"));
}

#[test]
fn what_was_committed_survives_an_immediate_stop() {
    let mut server = PostgresServer::builder().durable(true).start().unwrap();
    let url = server.url("postgres");
    let port = server.port();
    server.psql(&url, "create table charge (id int); insert into charge values (7)").unwrap();

    for _ in 0..2 {
        server.stop_immediate().unwrap();
        server.psql(&url, "select 1").unwrap_err();
        server.start_again().unwrap();
        assert_eq!(server.psql(&url, "select id from charge").unwrap(), "7");
    }
    assert_eq!(server.port(), port);
}

#[test]
fn stopping_and_starting_twice_changes_nothing() {
    let mut server = PostgresServer::start().unwrap();
    server.start_again().unwrap();
    server.stop_immediate().unwrap();
    server.stop_immediate().unwrap();
    server.start_again().unwrap();
    assert_eq!(server.psql(&server.url("postgres"), "select 1").unwrap(), "1");
}

#[test]
fn settings_go_over_defaults() {
    let server = PostgresServer::builder().setting("max_connections", "20").start().unwrap();
    let show = |name: &str| server.psql(&server.url("postgres"), &format!("show {name}")).unwrap();
    assert_eq!(show("max_connections"), "20");
    assert_eq!(show("fsync"), "off");
}

#[test]
fn a_refused_start_tells_the_end_of_the_log() {
    let error = PostgresServer::builder().setting("max_connections", "many").start().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("invalid value for parameter \"max_connections\""), "{text}");
}

#[test]
fn a_refused_statement_is_an_error() {
    let server = PostgresServer::start().unwrap();
    server.create_database("orders").unwrap();
    let error = server.create_database("orders").unwrap_err();
    assert!(error.to_string().contains("already exists"), "{error}");
}

#[test]
fn servers_started_together_do_not_collide() {
    let servers: Vec<PostgresServer> = thread::scope(|scope| {
        let starts: Vec<_> = (0..3).map(|_| scope.spawn(PostgresServer::start)).collect();
        starts.into_iter().map(|start| start.join().unwrap().unwrap()).collect()
    });
    let directories: HashSet<String> = servers
        .iter()
        .map(|server| server.psql(&server.url("postgres"), "show data_directory").unwrap())
        .collect();
    assert_eq!(directories.len(), servers.len());
}
