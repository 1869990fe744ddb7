//! Removes claims whose window is over.
//!
//! An expired claim is harmless: the next delivery takes it over. It only takes space, some 105
//! bytes. The [`Sweeper`] gives that back, in batches so short that claims do not notice, without an
//! index that every claim would pay for.

use std::{
    fmt,
    pin::{Pin, pin},
    time::Duration,
};

use super::{shutdown::stopped, store::SweepStore};
use crate::{
    error::StoreError,
    telemetry::{self, Stopwatch},
};

/// Removes expired claims, round after round; made by a store's `sweeper()`.
///
/// It also writes down the ages of duplicates, which are counted in memory in between.
///
/// Nothing runs until its future is spawned:
///
/// ```
/// use std::time::Duration;
/// use tower_inbox::inbox::SqliteStore;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_inbox::BoxError> {
/// # let store = SqliteStore::in_memory().await?;
/// # store.schema().up().await?;
/// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
/// let sweeper = store.sweeper().every(Duration::from_secs(60));
/// let task = tokio::spawn(sweeper.run(async { stopped.await.unwrap_or(()) }));
/// // … and on shutdown:
/// drop(stop);
/// task.await?;
/// # Ok(())
/// # }
/// ```
///
/// # Many processes
///
/// Each may run one: a round is begun by whoever asks first, and one batch at a time is deleted.
///
/// # Cancellation
///
/// Safe to drop at any time; a batch is one statement.
#[must_use = "spawn the sweeper's `run`, or expired claims stay"]
pub struct Sweeper<St> {
    store: St,
    every: Duration,
    retention: Duration,
    pause: Duration,
}

impl<St: SweepStore> Sweeper<St> {
    /// Makes one for a store, as the stores' own `sweeper()` does.
    pub fn new(store: St) -> Self {
        Self { store, every: EVERY, retention: Duration::ZERO, pause: PAUSE }
    }

    /// Sets how often a round begins. Defaults to a minute. Counted in whole seconds, at least one.
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every.max(Duration::from_secs(1));
        self
    }

    /// Sets how long rows stay beyond their window. Defaults to zero; nothing makes them go before.
    ///
    /// They are not recognised any more in that time; it is for people who look at the table.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Sets how long to rest between two batches. Defaults to 10 ms, which leaves claims half of a
    /// busy disk.
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Runs until `shutdown` resolves; the batch under way is finished first, and what was counted
    /// in memory is written down.
    ///
    /// Errors are logged (`tracing`, warn) and the next round tries again: a database that is away
    /// for a while must not end the sweeper for good.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        loop {
            self.write_ages().await;
            match self.round(shutdown.as_mut()).await {
                Ok(Round::Stopped) => break,
                Ok(Round::Ended(removed)) => tracing::debug!(removed, "swept expired claims"),
                Ok(Round::NotOurs) => {}
                Err(error) => {
                    telemetry::sweep_failed();
                    tracing::warn!(error = &error as &dyn std::error::Error, "sweeping failed");
                }
            }
            if stopped(shutdown.as_mut(), self.every).await {
                break;
            }
        }
        self.write_ages().await;
    }

    /// Runs one round now, whoever else did. Returns the number of rows removed.
    ///
    /// # Errors
    ///
    /// The store's; the batches before it stand.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        match self.batches(pin!(std::future::pending())).await? {
            Round::Ended(removed) => Ok(removed),
            Round::NotOurs | Round::Stopped => unreachable!("nothing stops this round"),
        }
    }

    /// Each process has counts of its own, so this is done whoever sweeps.
    async fn write_ages(&self) {
        if let Err(error) = self.store.write_ages().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "could not write the ages of duplicates down"
            );
        }
    }

    async fn round<F>(&self, shutdown: Pin<&mut F>) -> Result<Round, StoreError>
    where
        F: Future<Output = ()>,
    {
        if self.store.begin_round(self.every).await? {
            self.batches(shutdown).await
        } else {
            Ok(Round::NotOurs)
        }
    }

    async fn batches<F>(&self, mut shutdown: Pin<&mut F>) -> Result<Round, StoreError>
    where
        F: Future<Output = ()>,
    {
        let mut removed = 0;
        let mut cursor = None;
        let watch = Stopwatch::start();
        loop {
            let swept = self.store.sweep(cursor, self.retention).await?;
            telemetry::swept(swept.removed);
            removed += swept.removed;
            cursor = swept.next;
            if cursor.is_none() {
                telemetry::sweep_ended(watch);
                return Ok(Round::Ended(removed));
            }
            if stopped(shutdown.as_mut(), self.pause).await {
                return Ok(Round::Stopped);
            }
        }
    }
}

enum Round {
    /// To the end of the table, with so many rows removed.
    Ended(u64),
    /// Another process began it.
    NotOurs,
    Stopped,
}

impl<St> fmt::Debug for Sweeper<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sweeper")
            .field("every", &self.every)
            .field("retention", &self.retention)
            .field("pause", &self.pause)
            .finish_non_exhaustive()
    }
}

// Rows stay a minute longer than they must: nothing beside a window of hours.
const EVERY: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);
