use std::{
    fmt,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use redis::{
    Cmd, RedisError, Value,
    aio::ConnectionLike,
    cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo},
    cmd,
};
use tokio::sync::Mutex;

use super::{
    Failure, Options,
    target::{Connection, Target},
};

/// Connections to one Redis, made when they are needed and made anew when they broke.
///
/// Never asks twice: whether a request that was not answered may be sent again is for the caller to say.
pub(crate) struct Link {
    target: Target,
    options: Options,
    slots: Box<[Slot]>,
    turn: AtomicUsize,
    written: AtomicU64,
    read: AtomicU64,
}

/// Room for one connection.
#[derive(Default)]
struct Slot {
    state: Mutex<State>,
    /// How often none could be made.
    failed: AtomicU64,
}

#[derive(Default)]
struct State {
    /// How many connections there were.
    number: u64,
    /// With the time at which it was used last.
    connection: Option<(Connection, Instant)>,
    /// Why none could be made the last time.
    failure: Option<RedisError>,
}

impl Link {
    /// Does not connect yet.
    pub(crate) fn new(url: &str, options: Options) -> Result<Self, Failure> {
        let target = Target::parse(url, &options)?;
        let slots = (0..options.connections).map(|_| Slot::default()).collect();
        let (turn, written, read) = Default::default();
        Ok(Self { target, options, slots, turn, written, read })
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.target.is_cluster()
    }

    /// Asks once. On a cluster the first key says which node.
    pub(crate) async fn ask(&self, command: &Cmd) -> Result<Value, Failure> {
        self.with_connection(async |connection| match connection {
            Connection::Single(mut connection) => connection.req_packed_command(command).await,
            Connection::Cluster(mut connection) => connection.req_packed_command(command).await,
        })
        .await
    }

    /// Asks the server, or every master of a cluster; the answers, one for each.
    pub(crate) async fn ask_masters(&self, command: &Cmd) -> Result<Vec<Value>, Failure> {
        let answer = self
            .with_connection(async |connection| match connection {
                Connection::Single(mut connection) => connection.req_packed_command(command).await,
                Connection::Cluster(mut connection) => {
                    let all = RoutingInfo::MultiNode((
                        MultipleNodeRoutingInfo::AllMasters,
                        Some(ResponsePolicy::Special),
                    ));
                    connection.route_command(command.clone(), all).await
                }
            })
            .await?;
        Ok(match answer {
            Value::Map(nodes) => nodes.into_iter().map(|(_, answer)| answer).collect(),
            answer => vec![answer],
        })
    }

    /// Bytes of arguments and answers so far.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        (self.written.load(Ordering::Relaxed), self.read.load(Ordering::Relaxed))
    }

    pub(super) fn count(&self, written: usize, read: usize) {
        self.written.fetch_add(written as u64, Ordering::Relaxed);
        self.read.fetch_add(read as u64, Ordering::Relaxed);
    }

    async fn with_connection(
        &self,
        ask: impl AsyncFnOnce(Connection) -> Result<Value, RedisError>,
    ) -> Result<Value, Failure> {
        let at = self.turn.fetch_add(1, Ordering::Relaxed) % self.slots.len();
        let slot = &self.slots[at];
        let (number, connection) = self.connection(slot).await.map_err(Failure::connecting)?;
        // What the server says no with is a value to the client.
        match ask(connection).await.and_then(Value::extract_error) {
            Ok(answer) => Ok(answer),
            Err(error) => {
                if Failure::breaks_connection(&error) {
                    let mut state = slot.state.lock().await;
                    // Somebody else may have made a new one meanwhile.
                    if state.number == number {
                        state.connection = None;
                    }
                }
                Err(Failure::asking(error))
            }
        }
    }

    /// A connection that was alive a moment ago, and its number.
    ///
    /// One that was not used for a while may have been closed meanwhile, as by a failover. A request on it
    /// would be lost, and nobody could say whether it had taken effect; a `PING` may be lost.
    async fn connection(&self, slot: &Slot) -> Result<(u64, Connection), RedisError> {
        let failed = slot.failed.load(Ordering::Acquire);
        let mut state = slot.state.lock().await;
        if let Some((connection, used)) = &mut state.connection {
            let mut connection = connection.clone();
            if used.elapsed() < IDLE || connection.is_alive().await {
                *used = Instant::now();
                return Ok((state.number, connection));
            }
            state.connection = None;
        }
        // Whoever was before us has just found out; a crowd would otherwise wait for one timeout after
        // the other.
        if slot.failed.load(Ordering::Acquire) != failed
            && let Some(failure) = &state.failure
        {
            return Err(failure.clone());
        }
        match self.target.connect(&self.options).await {
            Ok(connection) => {
                tracing::debug!("connected to Redis");
                state.number += 1;
                state.connection = Some((connection.clone(), Instant::now()));
                Ok((state.number, connection))
            }
            Err(failure) => {
                state.failure = Some(failure.clone());
                slot.failed.fetch_add(1, Ordering::Release);
                Err(failure)
            }
        }
    }
}

impl Connection {
    async fn is_alive(&mut self) -> bool {
        match self {
            Self::Single(connection) => connection.req_packed_command(&cmd("PING")).await.is_ok(),
            // It looks after the connections to its nodes by itself.
            Self::Cluster(_) => true,
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("options", &self.options).finish_non_exhaustive()
    }
}

// Failing over takes longer, and a question after a pause of this length costs next to nothing.
const IDLE: Duration = Duration::from_millis(500);
