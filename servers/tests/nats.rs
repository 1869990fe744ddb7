//! A private NATS server, asked in its own protocol, which is text.

mod owner;

use std::{
    io::{BufRead, BufReader, ErrorKind, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
};

use tower_inbox_servers::NatsServer;

#[test]
fn what_jetstream_acknowledged_survives_a_kill() {
    let mut server = NatsServer::start().unwrap();
    let created =
        request(&server, "$JS.API.STREAM.CREATE.orders", r#"{"name":"orders","subjects":["o"]}"#);
    assert!(created.contains(r#""did_create":true"#), "{created}");
    let acknowledged = request(&server, "o", "one order");
    assert!(acknowledged.contains(r#""seq":1"#), "{acknowledged}");

    let port = server.port();
    for _ in 0..2 {
        server.stop_immediate().unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap_err();
        server.start_again().unwrap();
        let info = request(&server, "$JS.API.STREAM.INFO.orders", "");
        assert!(info.contains(r#""messages":1"#), "{info}");
    }
    assert_eq!(server.port(), port);
}

#[test]
fn stopping_and_starting_twice_changes_nothing() {
    let mut server = NatsServer::start().unwrap();
    server.start_again().unwrap();
    server.stop_immediate().unwrap();
    server.stop_immediate().unwrap();
    server.start_again().unwrap();
    assert!(request(&server, "$JS.API.INFO", "").contains("streams"));
}

#[test]
fn a_taken_port_is_told_with_the_end_of_the_log() {
    let mut server = NatsServer::start().unwrap();
    server.stop_immediate().unwrap();
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, server.port())).unwrap();
    let error = server.start_again().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains("Error listening on port"), "{error}");
}

#[test]
fn nothing_is_left_behind_when_the_owner_is_killed() {
    owner::kill_owner();
}

#[test]
fn owner_process() {
    if owner::is_owner() {
        let server = NatsServer::start().unwrap();
        owner::wait_to_be_killed(server.port());
    }
}

/// Sends a message and returns the body of the answer.
fn request(server: &NatsServer, subject: &str, body: &str) -> String {
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
    let length = body.len();
    let sent =
        format!("CONNECT {{}}\r\nSUB answer 1\r\nPUB {subject} answer {length}\r\n{body}\r\n");
    client.write_all(sent.as_bytes()).unwrap();
    let mut lines = BufReader::new(client).lines().map(Result::unwrap);
    lines.find(|line| line.starts_with("MSG answer 1")).unwrap();
    lines.next().unwrap()
}
