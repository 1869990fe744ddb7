use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    mem,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use sqlx::Pool;
use tokio::{
    runtime::Handle,
    sync::oneshot,
    time::{Instant, sleep_until},
};

use super::sql_tx::{Driver, Held, Spare};

/// Connections that go from delivery to delivery, and not back to their pool after each.
///
/// The pool asks a connection whether it is alive each time it comes back, which is a round trip for
/// every message. A connection from here is away from its pool for `stay` at most, counted from when
/// the pool handed it out: then it goes back the usual way, so that others who wait for one get
/// theirs, and the pool's own limits and hooks see it.
pub(super) struct Shelf<DB: Driver> {
    pool: Pool<DB>,
    stay: Duration,
    state: Mutex<State<DB>>,
}

struct State<DB: Driver> {
    /// The last one in is the first one out: what is not needed grows old and leaves.
    connections: Vec<Away<DB>>,
    /// Deliveries that wait, here and for the pool, in turn. There is one only while the shelf is
    /// empty.
    waiting: VecDeque<(u64, oneshot::Sender<Away<DB>>)>,
    /// How many have waited.
    numbered: u64,
    /// Whether a task sees to it that connections leave in time.
    watched: bool,
}

struct Away<DB: Driver> {
    connection: Spare<DB>,
    until: Instant,
}

/// How a connection comes back here.
pub(super) struct WayBack<DB: Driver> {
    shelf: Arc<Shelf<DB>>,
    until: Instant,
}

impl<DB: Driver> Shelf<DB> {
    pub(super) fn new(pool: Pool<DB>, stay: Duration) -> Self {
        let state = State {
            connections: Vec::new(),
            waiting: VecDeque::new(),
            numbered: 0,
            watched: false,
        };
        Self { pool, stay, state: Mutex::new(state) }
    }

    /// Takes a connection that is here, or the first that comes: from another delivery, or from the
    /// pool.
    pub(super) async fn acquire(self: &Arc<Self>) -> Result<Held<DB>, sqlx::Error> {
        if self.pool.is_closed() {
            return self.acquire_from_pool().await;
        }
        let (mut handed, _place) = {
            let mut state = self.state();
            if let Some(away) = state.connections.pop() {
                return Ok(self.held(away));
            }
            // With the look, or a connection could come to the shelf between the two.
            let (hand, handed) = oneshot::channel();
            state.numbered += 1;
            let number = state.numbered;
            state.waiting.push_back((number, hand));
            (handed, Place { shelf: self, number })
        };
        let mut pooled = pin!(self.acquire_from_pool());
        let first = poll_fn(|cx| {
            if let Poll::Ready(Ok(away)) = Pin::new(&mut handed).poll(cx) {
                return Poll::Ready(Ok(self.held(away)));
            }
            pooled.as_mut().poll(cx)
        })
        .await;
        handed.close();
        if let Ok(away) = handed.try_recv() {
            // Both came, and the pool's was first.
            self.put(away);
        }
        first
    }

    /// Takes one from the pool, whatever is here.
    pub(super) async fn acquire_from_pool(self: &Arc<Self>) -> Result<Held<DB>, sqlx::Error> {
        let connection = self.pool.acquire().await?;
        let until = Instant::now() + self.stay;
        Ok(Held::to_keep(connection, WayBack { shelf: Arc::clone(self), until }))
    }

    fn held(self: &Arc<Self>, Away { connection, until }: Away<DB>) -> Held<DB> {
        Held::kept(connection, WayBack { shelf: Arc::clone(self), until })
    }

    fn put(self: &Arc<Self>, mut away: Away<DB>) {
        let Ok(runtime) = Handle::try_current() else { return };
        if away.until <= Instant::now() || self.pool.is_closed() {
            return;
        }
        let mut state = self.state();
        while let Some((_, hand)) = state.waiting.pop_front() {
            match hand.send(away) {
                Ok(()) => return,
                // Nobody waits there any more.
                Err(back) => away = back,
            }
        }
        state.connections.push(away);
        if !mem::replace(&mut state.watched, true) {
            drop(state);
            runtime.spawn(Arc::clone(self).watch());
        }
    }

    /// Hands connections back whose time is over, until there are none.
    async fn watch(self: Arc<Self>) {
        loop {
            let next = {
                let mut state = self.state();
                let next = state.connections.iter().map(|away| away.until).min();
                state.watched = next.is_some();
                next
            };
            let Some(next) = next else { return };
            sleep_until(next).await;
            let now = Instant::now();
            let over: Vec<_> =
                self.state().connections.extract_if(.., |away| away.until <= now).collect();
            // Into the pool, and not under the lock.
            drop(over);
        }
    }

    fn state(&self) -> MutexGuard<'_, State<DB>> {
        // Nothing that holds the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a delivery among those that wait, until it stops waiting.
struct Place<'a, DB: Driver> {
    shelf: &'a Shelf<DB>,
    number: u64,
}

impl<DB: Driver> Drop for Place<'_, DB> {
    fn drop(&mut self) {
        self.shelf.state().waiting.retain(|(number, _)| *number != self.number);
    }
}

impl<DB: Driver> WayBack<DB> {
    /// Leaves a clean connection to the next delivery, or gives it to the pool.
    pub(super) fn put(self, connection: Spare<DB>) {
        let Self { shelf, until } = self;
        shelf.put(Away { connection, until });
    }
}

impl<DB: Driver> Drop for Shelf<DB> {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if Handle::try_current().is_err() {
            // A pool takes nothing back without a runtime, and panics. The one that these
            // connections belong to is gone.
            state.connections.drain(..).for_each(mem::forget);
        }
    }
}

impl<DB: Driver> fmt::Debug for Shelf<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("stay", &self.stay).finish_non_exhaustive()
    }
}
