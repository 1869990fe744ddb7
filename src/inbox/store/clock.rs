// Each store uses what its database needs, and only tests make one.
#![cfg_attr(not(all(feature = "testing", feature = "sqlite")), allow(dead_code, unreachable_pub))]

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

/// A clock that a test moves, in place of the database's.
///
/// Give it to `PgStore::with_clock` or `SqliteStore::with_clock`; clones show the same time.
#[derive(Debug, Clone)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    /// Starts at a number of milliseconds since the Unix epoch.
    pub fn at_unix_millis(millis: i64) -> Self {
        Self(Arc::new(AtomicI64::new(millis - EPOCH_MS)))
    }

    /// Moves the clock by seconds, backwards if negative.
    pub fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    /// What it shows, in milliseconds since the Unix epoch; for stores of other crates.
    pub fn unix_millis(&self) -> i64 {
        self.millis() + EPOCH_MS
    }

    /// Milliseconds since 2020-01-01 00:00:00 UTC.
    pub(super) fn millis(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    /// The machine's time, in milliseconds since 2020-01-01 00:00:00 UTC.
    pub(super) fn system_millis() -> i64 {
        let since_unix = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |elapsed| i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX));
        since_unix - EPOCH_MS
    }
}

/// 2020-01-01 00:00:00 UTC in Unix milliseconds.
const EPOCH_MS: i64 = 1_577_836_800_000;
