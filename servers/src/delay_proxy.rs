use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// A TCP proxy on loopback that adds the delay of a network.
///
/// Every chunk is passed on `one_way` after it was read, in each direction, so that a round trip
/// takes at least twice as long. Chunks do not wait for one another: the throughput stays. It is
/// made of threads, since the timers of tokio are no finer than a millisecond.
///
/// # What is not promised
///
/// Opening a connection is not delayed. The delay is a lower bound; a busy machine adds to it.
#[derive(Debug)]
#[must_use = "a dropped proxy closes its connections"]
pub struct DelayProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl DelayProxy {
    /// Starts a proxy before `upstream`.
    ///
    /// # Errors
    ///
    /// When no port can be listened on. An upstream that cannot be reached is no error here: the
    /// client's connection is closed.
    pub fn start(upstream: SocketAddr, one_way: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            stopped: AtomicBool::new(false),
            upstream: Mutex::new(upstream),
            connections: Mutex::default(),
        });
        let acceptor = thread::Builder::new().name("delay-proxy".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept(&listener, one_way)
        })?;
        Ok(Self { address, shared, acceptor: Some(acceptor) })
    }

    /// The loopback port that clients connect to.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Sends new connections to another server, as an address that moves on a failover does. Those of
    /// now stay where they are until they are [cut](Self::cut).
    pub fn redirect(&self, upstream: SocketAddr) {
        *self.shared.upstream.lock().unwrap_or_else(PoisonError::into_inner) = upstream;
    }

    /// Closes all current connections on both sides; what was on its way is lost.
    ///
    /// New connections are accepted as before.
    pub fn cut(&self) {
        for connection in self.shared.connections().drain(..) {
            if let Some(connection) = connection.upgrade() {
                connection.close();
            }
        }
    }
}

impl Drop for DelayProxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the acceptor. If it cannot be woken, it is left behind and not waited for.
        if TcpStream::connect(self.address).is_ok()
            && let Some(acceptor) = self.acceptor.take()
        {
            let _ = acceptor.join();
        }
        self.cut();
    }
}

#[derive(Debug)]
struct Shared {
    stopped: AtomicBool,
    upstream: Mutex<SocketAddr>,
    connections: Mutex<Vec<Weak<Connection>>>,
}

impl Shared {
    fn accept(&self, listener: &TcpListener, one_way: Duration) {
        for client in listener.incoming() {
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            let upstream = *self.upstream.lock().unwrap_or_else(PoisonError::into_inner);
            // A connection that cannot be set up is closed, which its client will notice.
            if let Ok(connection) = client.and_then(|client| Connection::open(client, upstream)) {
                let connection = Arc::new(connection);
                let mut connections = self.connections();
                connections.retain(|other| other.strong_count() > 0);
                connections.push(Arc::downgrade(&connection));
                connection.serve(one_way);
            }
        }
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Weak<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The two sides of one connection, closed when the last of its threads has ended.
#[derive(Debug)]
struct Connection {
    client: TcpStream,
    upstream: TcpStream,
}

impl Connection {
    fn open(client: TcpStream, upstream: SocketAddr) -> io::Result<Self> {
        let upstream = TcpStream::connect(upstream)?;
        client.set_nodelay(true)?;
        upstream.set_nodelay(true)?;
        Ok(Self { client, upstream })
    }

    fn serve(self: &Arc<Self>, one_way: Duration) {
        self.pump(one_way, |connection| (&connection.client, &connection.upstream));
        self.pump(one_way, |connection| (&connection.upstream, &connection.client));
    }

    /// Passes chunks on in one direction, with a thread at each end of the delay.
    fn pump(self: &Arc<Self>, one_way: Duration, ends: fn(&Self) -> (&TcpStream, &TcpStream)) {
        let (sender, receiver) = sync_channel(CHUNKS_UNDER_WAY);
        let connection = Arc::clone(self);
        thread::spawn(move || receive(ends(&connection).0, one_way, &sender));
        let connection = Arc::clone(self);
        thread::spawn(move || {
            let to = ends(&connection).1;
            if send(to, &receiver).is_err() {
                connection.close();
            }
            // The other direction may still be in use.
            let _ = to.shutdown(Shutdown::Write);
        });
    }

    fn close(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.upstream.shutdown(Shutdown::Both);
    }
}

struct Chunk {
    due: Instant,
    bytes: Vec<u8>,
}

fn receive(mut from: &TcpStream, one_way: Duration, chunks: &SyncSender<Chunk>) {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(length) if length > 0 => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            _ => return,
        };
        let due = Instant::now() + one_way;
        if chunks.send(Chunk { due, bytes: buffer[..length].to_vec() }).is_err() {
            return;
        }
    }
}

fn send(mut to: &TcpStream, chunks: &Receiver<Chunk>) -> io::Result<()> {
    for chunk in chunks {
        sleep_until(chunk.due);
        to.write_all(&chunk.bytes)?;
    }
    Ok(())
}

/// Sleeps to shortly before the moment and spins for the rest.
fn sleep_until(due: Instant) {
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        } else if left > SPIN {
            thread::sleep(left - SPIN);
        } else {
            thread::yield_now();
        }
    }
}

// The amount by which Linux lets a sleep run over, so that there is rarely anything left to spin.
const SPIN: Duration = Duration::from_micros(50);

const CHUNK_BYTES: usize = 64 * 1024;

// Beyond that the sender has to wait, as on a network with a full window.
const CHUNKS_UNDER_WAY: usize = 1024;
