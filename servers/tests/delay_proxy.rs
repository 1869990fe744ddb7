//! The delay proxy, before a server that sends everything back.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use tower_inbox_servers::DelayProxy;

#[test]
fn a_round_trip_takes_both_delays() {
    let one_way = Duration::from_micros(250);
    let proxy = DelayProxy::start(echo_server(), one_way).unwrap();
    let mut client = connect(&proxy);
    for _ in 0..20 {
        let start = Instant::now();
        client.write_all(b"ping").unwrap();
        client.read_exact(&mut [0; 4]).unwrap();
        assert!(start.elapsed() >= 2 * one_way);
    }
}

#[test]
fn all_bytes_arrive_in_order_and_then_the_end() {
    let proxy = DelayProxy::start(echo_server(), Duration::from_millis(1)).unwrap();
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut client = connect(&proxy);
    let mut writer = client.try_clone().unwrap();
    let mut received = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        client.read_to_end(&mut received).unwrap();
    });
    assert!(received == sent);
}

#[test]
fn a_cut_ends_the_connections_of_now_and_not_the_next() {
    let proxy = DelayProxy::start(echo_server(), Duration::from_millis(1)).unwrap();
    let mut cut = [connect(&proxy), connect(&proxy)];
    for client in &mut cut {
        assert!(is_alive(client));
    }
    proxy.cut();
    for client in &mut cut {
        assert!(!is_alive(client));
    }
    assert!(is_alive(&mut connect(&proxy)));
}

#[test]
fn a_cut_loses_what_is_on_its_way() {
    let proxy = DelayProxy::start(echo_server(), Duration::from_secs(1)).unwrap();
    let mut client = connect(&proxy);
    client.write_all(b"ping").unwrap();
    thread::sleep(Duration::from_millis(100));
    proxy.cut();
    assert!(!matches!(client.read(&mut [0; 4]), Ok(1..)));
}

#[test]
fn a_redirection_holds_for_the_next_connections() {
    let (first, second) = (TcpListener::bind(ANY).unwrap(), echo_server());
    let proxy = DelayProxy::start(first.local_addr().unwrap(), Duration::ZERO).unwrap();
    let mut old = connect(&proxy);
    let mut upstream = first.accept().unwrap().0;
    proxy.redirect(second);
    assert!(is_alive(&mut connect(&proxy)));
    old.write_all(b"ping").unwrap();
    upstream.read_exact(&mut [0; 4]).unwrap();
    proxy.cut();
    assert!(!is_alive(&mut old));
    assert!(is_alive(&mut connect(&proxy)));
}

#[test]
fn an_upstream_that_is_gone_closes_the_client() {
    let listener = TcpListener::bind(ANY).unwrap();
    let upstream = listener.local_addr().unwrap();
    drop(listener);
    let proxy = DelayProxy::start(upstream, Duration::ZERO).unwrap();
    assert!(!is_alive(&mut connect(&proxy)));
}

#[test]
fn a_dropped_proxy_closes_its_connections_and_its_port() {
    let proxy = DelayProxy::start(echo_server(), Duration::ZERO).unwrap();
    let port = proxy.port();
    let mut client = connect(&proxy);
    assert!(is_alive(&mut client));
    drop(proxy);
    assert!(!is_alive(&mut client));
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap_err();
}

fn connect(proxy: &DelayProxy) -> TcpStream {
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
    client.set_nodelay(true).unwrap();
    client
}

fn is_alive(client: &mut TcpStream) -> bool {
    client.write_all(b"ping").and_then(|()| client.read_exact(&mut [0; 4])).is_ok()
}

fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind(ANY).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            client.set_nodelay(true).unwrap();
            thread::spawn(move || io::copy(&mut client.try_clone().unwrap(), &mut client));
        }
    });
    address
}

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
