//! A private Redis server, asked through `redis-cli` and in its own protocol, which is text.

mod owner;

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    time::Duration,
};

use tower_inbox_servers::RedisServer;

#[test]
fn it_lets_everybody_in_and_refuses_debug() {
    let server = RedisServer::start().unwrap();
    assert_eq!(server.url(), format!("redis://127.0.0.1:{}", server.port()));
    assert_eq!(ask(&server, "SET order 7"), "+OK");
    assert_eq!(server.cli(&["get", "order"]).unwrap(), "7");
    assert!(ask(&server, "DEBUG SLEEP 0").starts_with("-ERR DEBUG command not allowed"));
    let error = server.cli(&["incr", "order", "7"]).unwrap_err();
    assert!(error.to_string().contains("wrong number of arguments"), "{error}");

    let server = RedisServer::builder().debug_commands(true).start().unwrap();
    assert_eq!(ask(&server, "DEBUG SLEEP 0"), "+OK");
}

#[test]
fn with_a_password_nobody_gets_in_without() {
    let server = RedisServer::builder().password("open sesame/\"").start().unwrap();
    assert_eq!(server.url(), format!("redis://:open%20sesame%2F%22@127.0.0.1:{}", server.port()));
    assert!(ask(&server, "PING").starts_with("-NOAUTH"));
    assert_eq!(ask(&server, "AUTH \"open sesame/\\\"\"\r\nPING"), "+PONG");
    assert_eq!(server.cli(&["ping"]).unwrap(), "PONG");
}

#[test]
fn a_user_gets_as_far_as_the_rules_say() {
    let server = RedisServer::builder()
        .user("inbox", "secret", "~inbox:* +@all -@dangerous")
        .user("audit", "other", "~* +@read")
        .start()
        .unwrap();
    assert_eq!(server.url(), format!("redis://inbox:secret@127.0.0.1:{}", server.port()));
    let as_inbox = |command: &str| ask(&server, &format!("AUTH inbox secret\r\n{command}"));
    let as_audit = |command: &str| ask(&server, &format!("AUTH audit other\r\n{command}"));
    assert_eq!(as_inbox("SET inbox:1 done"), "+OK");
    assert!(as_inbox("SET order 7").starts_with("-NOPERM"));
    assert!(as_inbox("FLUSHALL").starts_with("-NOPERM"));
    assert_eq!(as_audit("EXISTS inbox:1"), ":1");
    assert!(as_audit("DEL inbox:1").starts_with("-NOPERM"));
    assert!(ask(&server, "PING").starts_with("-NOAUTH"));
}

#[test]
fn with_tls_the_port_speaks_nothing_else() {
    let server = RedisServer::builder().tls(true).password("secret").start().unwrap();
    assert_eq!(server.url(), format!("rediss://:secret@127.0.0.1:{}", server.port()));
    // Under the authority that it names, which `redis-cli` verifies.
    assert_eq!(server.cli(&["ping"]).unwrap(), "PONG");
    let ca = fs::read_to_string(server.ca_file().unwrap()).unwrap();
    assert!(ca.starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(!ask(&server, "PING").contains("PONG"));
    assert!(RedisServer::start().unwrap().ca_file().is_none());
}

#[test]
fn a_full_server_refuses_or_forgets() {
    let fill = |server: &RedisServer| -> String {
        let script = "for i = 1, 1000 do redis.call('set', i, string.rep('x', 10000)) end";
        ask(server, &format!("EVAL \"{script}\" 0\r\nSET order 7"))
    };
    let limited = || RedisServer::builder().maxmemory(4 << 20);
    let server = limited().start().unwrap();
    assert!(fill(&server).starts_with("-OOM"));
    let server = limited().policy("allkeys-lru").start().unwrap();
    assert_eq!(fill(&server), "+OK");
    let stats = server.cli(&["info", "stats"]).unwrap();
    assert!(!stats.contains("evicted_keys:0\r"), "{stats}");
}

#[test]
fn what_is_appended_survives_a_kill() {
    for (append_only, value) in [(true, "7"), (false, "")] {
        let mut server = RedisServer::builder().append_only(append_only).start().unwrap();
        let port = server.port();
        assert_eq!(ask(&server, "SET order 7"), "+OK");
        server.kill().unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap_err();
        server.restart().unwrap();
        assert_eq!(server.port(), port);
        assert_eq!(server.cli(&["get", "order"]).unwrap(), value);
        // One that runs is restarted, too.
        let pid = server.pid();
        server.restart().unwrap();
        assert_ne!(server.pid(), pid);
        assert_eq!(server.cli(&["get", "order"]).unwrap(), value);
    }
}

#[test]
fn stopping_twice_changes_nothing() {
    let mut server = RedisServer::start().unwrap();
    assert!(server.pid().is_some());
    server.stop().unwrap();
    server.stop().unwrap();
    server.kill().unwrap();
    assert!(server.pid().is_none());
    server.pause().unwrap();
    server.resume().unwrap();
    server.cli(&["ping"]).unwrap_err();
    server.restart().unwrap();
    server.kill().unwrap();
    server.kill().unwrap();
    server.stop().unwrap();
    server.restart().unwrap();
    assert_eq!(server.cli(&["ping"]).unwrap(), "PONG");
}

#[test]
fn a_paused_server_answers_when_it_is_resumed() {
    let mut server = RedisServer::start().unwrap();
    server.pause().unwrap();
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
    client.write_all(b"PING\r\n").unwrap();
    client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut answer = BufReader::new(client.try_clone().unwrap());
    let error = answer.read_line(&mut String::new()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");

    server.resume().unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut line = String::new();
    answer.read_line(&mut line).unwrap();
    assert_eq!(line, "+PONG\r\n");

    for end in [RedisServer::stop, RedisServer::kill] {
        server.pause().unwrap();
        end(&mut server).unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap_err();
        server.restart().unwrap();
    }
    server.pause().unwrap();
    let port = server.port();
    drop(server);
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap_err();
}

#[test]
fn a_taken_port_is_told_with_the_end_of_the_log() {
    let mut server = RedisServer::start().unwrap();
    server.stop().unwrap();
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, server.port())).unwrap();
    let error = server.restart().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains("Failed listening on port"), "{error}");
}

#[test]
fn a_setting_stands_above_the_defaults() {
    let server = RedisServer::builder().append_only(true).setting("appendfsync", "always");
    let server = server.start().unwrap();
    assert_eq!(server.cli(&["config", "get", "appendfsync"]).unwrap(), "appendfsync\nalways");
    let error = RedisServer::builder().setting("nonsense", "1").start().unwrap_err();
    assert!(error.to_string().contains("Bad directive"), "{error}");
}

#[test]
fn nothing_is_left_behind_when_the_owner_is_killed() {
    owner::kill_owner();
}

#[test]
fn owner_process() {
    if owner::is_owner() {
        let server = RedisServer::start().unwrap();
        let paused = RedisServer::start().unwrap();
        paused.pause().unwrap();
        owner::wait_to_be_killed(server.port());
    }
}

/// Sends commands in lines and returns the first line of the last answer.
///
/// Answers of more than one line are not understood.
fn ask(server: &RedisServer, commands: &str) -> String {
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(format!("{commands}\r\n").as_bytes()).unwrap();
    let answers = BufReader::new(client).lines().take(commands.lines().count());
    // One that speaks something else may end the connection with or without a word.
    answers.map(Result::unwrap_or_default).last().unwrap_or_default()
}

const PATIENCE: Duration = Duration::from_secs(30);
