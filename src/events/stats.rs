use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::backend::Traffic;

/// What a deduplicator and its clones did since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct DeduplicationStats {
    /// Events that were checked: by themselves, in order to be marked, or claimed.
    pub events_checked: u64,
    /// Those of them that had been seen.
    pub duplicates_found: u64,
    /// Those that had not, and were nobody else's.
    pub new_events: u64,
    /// Those that somebody else had claimed.
    pub in_flight: u64,
    /// Checked events that the local cache knew.
    pub cache_hits: u64,
    /// Checked events that it did not know; 0 without one.
    pub cache_misses: u64,
    /// Requests with more than one event.
    pub batch_operations: u64,
    /// Requests, all together.
    pub operations: u64,
    /// Tries after the first.
    pub retry_count: u64,
    /// Requests that failed, after all retries.
    pub error_count: u64,
    /// Events that passed as new because the backend failed; see
    /// [`FailurePolicy::Open`](super::FailurePolicy::Open).
    pub failed_open: u64,
    /// Confirmations that failed, so that the event will be let through again.
    pub unconfirmed: u64,
    /// The mean time of a request in microseconds, retries and waits included.
    pub avg_latency_us: f64,
    /// Bytes sent to the server.
    pub bytes_written: u64,
    /// Bytes received from it.
    pub bytes_read: u64,
    /// Whether the circuit breaker is open now.
    pub circuit_open: bool,
}

impl DeduplicationStats {
    /// Which part of the checked events were duplicates; 0 without any.
    pub fn duplicate_rate(&self) -> f64 {
        rate(self.duplicates_found, self.events_checked)
    }

    /// Which part of the checked events the local cache knew; 0 without any.
    pub fn cache_hit_rate(&self) -> f64 {
        rate(self.cache_hits, self.cache_hits + self.cache_misses)
    }

    /// Which part of the requests failed; 0 without any.
    pub fn error_rate(&self) -> f64 {
        rate(self.error_count, self.operations)
    }

    /// How many requests there were, failed ones included.
    pub fn total_operations(&self) -> u64 {
        self.operations
    }
}

#[allow(clippy::cast_precision_loss, reason = "a rate")]
fn rate(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The counters behind it.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) checked: Counter,
    pub(super) duplicates: Counter,
    pub(super) new: Counter,
    pub(super) in_flight: Counter,
    pub(super) hits: Counter,
    pub(super) misses: Counter,
    pub(super) batches: Counter,
    pub(super) operations: Counter,
    pub(super) retries: Counter,
    pub(super) errors: Counter,
    pub(super) failed_open: Counter,
    pub(super) unconfirmed: Counter,
    nanos: Counter,
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(super) fn took(&self, time: Duration) {
        self.operations.add(1);
        self.nanos.add(usize::try_from(time.as_nanos()).unwrap_or(usize::MAX));
    }

    pub(super) fn read(&self, traffic: Traffic, circuit_open: bool) -> DeduplicationStats {
        let operations = self.operations.get();
        DeduplicationStats {
            events_checked: self.checked.get(),
            duplicates_found: self.duplicates.get(),
            new_events: self.new.get(),
            in_flight: self.in_flight.get(),
            cache_hits: self.hits.get(),
            cache_misses: self.misses.get(),
            batch_operations: self.batches.get(),
            operations,
            retry_count: self.retries.get(),
            error_count: self.errors.get(),
            failed_open: self.failed_open.get(),
            unconfirmed: self.unconfirmed.get(),
            avg_latency_us: rate(self.nanos.get(), operations) / 1000.0,
            bytes_written: traffic.written,
            bytes_read: traffic.read,
            circuit_open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_nothing_are_zero() {
        let stats = DeduplicationStats::default();
        let rates = [stats.duplicate_rate(), stats.cache_hit_rate(), stats.error_rate()];
        assert_eq!((rates, stats.total_operations()), ([0.0; 3], 0));
    }
}
