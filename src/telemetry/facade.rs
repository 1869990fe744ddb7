use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use metrics::{SharedString, Unit, counter, describe_counter, describe_histogram, histogram};

use crate::hook::Decision;

/// Tells the installed recorder the unit and the meaning of every metric. Call it once, after the
/// exporter is installed; the metrics are there without it.
pub fn describe() {
    describe_counter!(DELIVERIES, Unit::Count, "Deliveries, by what they came to");
    describe_histogram!(
        CLAIM,
        Unit::Seconds,
        "From the call to the claim, or to the answer that there is none"
    );
    describe_histogram!(HANDLER, Unit::Seconds, "What the handler took");
    describe_histogram!(
        COMMIT,
        Unit::Seconds,
        "From the end of the handler to the end of its transaction or lease"
    );
    describe_histogram!(
        DUPLICATE_AGE,
        Unit::Seconds,
        "How long ago the message of a duplicate was handled"
    );
    describe_counter!(
        REMEMBERED,
        Unit::Count,
        "Deliveries that the memory of committed keys answered"
    );
    describe_counter!(
        FAILED_ATTEMPTS,
        Unit::Count,
        "Attempts that count towards the limit of a dead-letter policy"
    );
    describe_counter!(DEAD_LETTERS, Unit::Count, "Messages put among the dead letters");
    describe_counter!(SWEPT_ROWS, Unit::Count, "Rows that the sweeper removed");
    describe_histogram!(SWEEP, Unit::Seconds, "What a round of the sweeper took");
    describe_counter!(EVENTS, Unit::Count, "Checked events, by what they came to");
    describe_histogram!(
        EVENTS_REQUEST,
        Unit::Seconds,
        "What a request about events took, retries included"
    );
    describe_counter!(EVENTS_RETRIES, Unit::Count, "Tries after the first");
    describe_counter!(EVENTS_ERRORS, Unit::Count, "Requests about events that failed");
    describe_counter!(
        EVENTS_FAILED_OPEN,
        Unit::Count,
        "Events that passed without a check because the backend failed"
    );
    describe_counter!(EVENTS_LOCAL, Unit::Count, "Events that the local cache was asked for");
    describe_counter!(SWEEP_FAILURES, Unit::Count, "Rounds of the sweeper that failed");
}

pub(crate) fn decided(consumer: &Arc<str>, decision: Decision) {
    counter!(DELIVERIES, "consumer" => name(consumer), "decision" => decision.as_str())
        .increment(1);
}

pub(crate) fn duplicate_age(consumer: &Arc<str>, age: Duration) {
    histogram!(DUPLICATE_AGE, "consumer" => name(consumer)).record(age);
}

pub(crate) fn remembered(consumer: &Arc<str>) {
    counter!(REMEMBERED, "consumer" => name(consumer)).increment(1);
}

pub(crate) fn attempt_failed(consumer: &Arc<str>) {
    counter!(FAILED_ATTEMPTS, "consumer" => name(consumer)).increment(1);
}

pub(crate) fn buried(consumer: &Arc<str>) {
    counter!(DEAD_LETTERS, "consumer" => name(consumer)).increment(1);
}

pub(crate) fn swept(rows: u64) {
    counter!(SWEPT_ROWS).increment(rows);
}

pub(crate) fn sweep_ended(watch: Stopwatch) {
    histogram!(SWEEP).record(watch.0.elapsed());
}

pub(crate) fn sweep_failed() {
    counter!(SWEEP_FAILURES).increment(1);
}

#[cfg(feature = "events")]
pub(crate) fn events_checked(
    backend: &'static str,
    duplicates: usize,
    new: usize,
    in_flight: usize,
) {
    for (outcome, events) in [("duplicate", duplicates), ("new", new), ("in_flight", in_flight)] {
        if events > 0 {
            counter!(EVENTS, "backend" => backend, "outcome" => outcome).increment(events as u64);
        }
    }
}

#[cfg(feature = "events")]
pub(crate) fn events_asked(backend: &'static str, operation: &'static str, took: Duration) {
    histogram!(EVENTS_REQUEST, "backend" => backend, "operation" => operation).record(took);
}

#[cfg(feature = "events")]
pub(crate) fn events_retried(backend: &'static str, operation: &'static str) {
    counter!(EVENTS_RETRIES, "backend" => backend, "operation" => operation).increment(1);
}

#[cfg(feature = "events")]
pub(crate) fn events_failed(backend: &'static str, operation: &'static str, kind: &'static str) {
    counter!(EVENTS_ERRORS, "backend" => backend, "operation" => operation, "kind" => kind)
        .increment(1);
}

#[cfg(feature = "events")]
pub(crate) fn events_failed_open(backend: &'static str, events: usize) {
    counter!(EVENTS_FAILED_OPEN, "backend" => backend).increment(events as u64);
}

#[cfg(feature = "events")]
pub(crate) fn events_local(hits: usize, misses: usize) {
    counter!(EVENTS_LOCAL, "result" => "hit").increment(hits as u64);
    counter!(EVENTS_LOCAL, "result" => "miss").increment(misses as u64);
}

/// Measures the parts of one delivery, one after the other.
#[derive(Debug)]
pub(crate) struct Timing {
    consumer: Arc<str>,
    since: Instant,
}

impl Timing {
    pub(crate) fn start(consumer: &Arc<str>) -> Self {
        Self { consumer: Arc::clone(consumer), since: Instant::now() }
    }

    pub(crate) fn claimed(&mut self) {
        self.lap(CLAIM);
    }

    pub(crate) fn handled(&mut self) {
        self.lap(HANDLER);
    }

    pub(crate) fn settled(&mut self) {
        self.lap(COMMIT);
    }

    fn lap(&mut self, metric: &'static str) {
        let now = Instant::now();
        histogram!(metric, "consumer" => name(&self.consumer)).record(now - self.since);
        self.since = now;
    }
}

/// Measures one thing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }
}

/// Not copied: the recorder shares the consumer's own name.
fn name(consumer: &Arc<str>) -> SharedString {
    SharedString::from_shared(Arc::clone(consumer))
}

const DELIVERIES: &str = "tower_inbox_deliveries_total";
const CLAIM: &str = "tower_inbox_claim_seconds";
const HANDLER: &str = "tower_inbox_handler_seconds";
const COMMIT: &str = "tower_inbox_commit_seconds";
const DUPLICATE_AGE: &str = "tower_inbox_duplicate_age_seconds";
const REMEMBERED: &str = "tower_inbox_remembered_total";
const FAILED_ATTEMPTS: &str = "tower_inbox_failed_attempts_total";
const DEAD_LETTERS: &str = "tower_inbox_dead_letters_total";
const SWEPT_ROWS: &str = "tower_inbox_swept_rows_total";
const SWEEP: &str = "tower_inbox_sweep_seconds";
const EVENTS: &str = "tower_inbox_events_total";
const EVENTS_REQUEST: &str = "tower_inbox_events_request_seconds";
const EVENTS_RETRIES: &str = "tower_inbox_events_retries_total";
const EVENTS_ERRORS: &str = "tower_inbox_events_errors_total";
const EVENTS_FAILED_OPEN: &str = "tower_inbox_events_failed_open_total";
const EVENTS_LOCAL: &str = "tower_inbox_events_local_total";
const SWEEP_FAILURES: &str = "tower_inbox_sweep_failures_total";
