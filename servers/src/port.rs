use std::{
    hash::{BuildHasher, RandomState},
    io,
    net::{Ipv4Addr, TcpListener},
    ops::Range,
};

/// Picks a loopback port that is free at this moment.
///
/// Somebody else may take it before the server does, so the caller tries again on `AddrInUse`.
pub(crate) fn free_port() -> io::Result<u16> {
    let random = RandomState::new();
    for attempt in 0..ATTEMPTS {
        let offset = random.hash_one(attempt) % u64::from(RANGE.end - RANGE.start);
        let port = RANGE.start + offset as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        format!("no free loopback port in {ATTEMPTS} attempts in {RANGE:?}"),
    ))
}

/// Starts a server, on other ports whenever one of those it took was gone by then.
pub(crate) fn retry_taken_ports(mut start: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let mut retries = 0..RETRIES;
    loop {
        match start() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && retries.next().is_some() => {}
            result => return result,
        }
    }
}

// Below the ports that systems hand out to outgoing connections (from 32768 on Linux). With port 0
// we would get one of those, and while a server is stopped its port could be taken by any client,
// even by one that tries to reach this very server and ends up connected to itself.
const RANGE: Range<u16> = 20_000..32_000;

const ATTEMPTS: u32 = 100;

const RETRIES: u32 = 10;
