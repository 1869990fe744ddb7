//! A private RabbitMQ server, asked through `rabbitmqctl`. One test and one server, because it
//! starts slowly.

mod owner;

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
};

use tower_inbox_servers::RabbitServer;

#[test]
fn it_keeps_its_data_over_a_kill_and_is_gone_with_its_owner() {
    owner::kill_owner();
}

#[test]
fn owner_process() {
    if !owner::is_owner() {
        return;
    }
    let mut server = RabbitServer::start().unwrap();
    let port = server.port();
    assert_speaks_amqp(port);
    server.ctl(&["add_vhost", "orders"]).unwrap();

    server.start_again().unwrap();
    server.stop_immediate().unwrap();
    server.stop_immediate().unwrap();
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap_err();
    server.start_again().unwrap();
    assert_eq!(server.port(), port);
    assert_speaks_amqp(port);
    let virtual_hosts = server.ctl(&["list_vhosts"]).unwrap();
    assert!(virtual_hosts.lines().any(|name| name == "orders"), "{virtual_hosts}");
    owner::wait_to_be_killed(port);
}

/// Says hello and reads the beginning of the answer: a method frame on channel 0.
fn assert_speaks_amqp(port: u16) {
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    client.write_all(b"AMQP\0\0\x09\x01").unwrap();
    let mut answer = [0; 3];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [1, 0, 0]);
}
