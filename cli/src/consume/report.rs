use std::time::{Duration, Instant};

use serde::Serialize;
use tower_inbox::lines::{BadLine, DeadLetters};

/// Counts what became of the lines.
pub(super) struct Tally {
    pub(super) handled: u64,
    pub(super) duplicates: u64,
    pub(super) in_flight: u64,
    pub(super) failed: u64,
    pub(super) dead_lettered: u64,
    /// How many of these were requeued letters.
    pub(super) redelivered: u64,
    dead_letters: u64,
    first_dead_letter: Option<String>,
    started: Instant,
    took: Duration,
}

/// What a run came to. `delivered` is the sum of the six after it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    consumer: String,
    delivered: u64,
    handled: u64,
    duplicates: u64,
    in_flight: u64,
    failed: u64,
    dead_lettered: u64,
    dead_letters: u64,
    redelivered: u64,
    seconds: f64,
    per_second: f64,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            handled: 0,
            duplicates: 0,
            in_flight: 0,
            failed: 0,
            dead_lettered: 0,
            redelivered: 0,
            dead_letters: 0,
            first_dead_letter: None,
            started: Instant::now(),
            took: Duration::ZERO,
        }
    }

    pub(super) fn dead_letter(&mut self, bad: &BadLine) {
        self.dead_letters += 1;
        self.first_dead_letter
            .get_or_insert_with(|| format!("line {}: {}", bad.number, bad.reason));
    }

    pub(super) fn finish(&mut self) {
        self.took = self.started.elapsed();
    }

    pub(super) fn delivered(&self) -> u64 {
        self.handled
            + self.duplicates
            + self.in_flight
            + self.failed
            + self.dead_lettered
            + self.dead_letters
    }

    /// What people should look at.
    pub(super) fn hint(&self) -> Option<String> {
        if self.delivered() > 0 && self.dead_letters == self.delivered() {
            let first = self.first_dead_letter.as_deref().unwrap_or_default();
            return Some(format!("every line became a dead letter; is --key right? {first}"));
        }
        let mut parts = Vec::new();
        if self.in_flight > 0 {
            parts.push(format!("{} still being handled elsewhere", self.in_flight));
        }
        if self.failed > 0 {
            parts.push(format!("{} failed", self.failed));
        }
        if !parts.is_empty() {
            let parts = parts.join(", ");
            return Some(format!("{parts}: run the same command again to try those"));
        }
        (self.dead_lettered > 0).then(|| {
            format!(
                "{} failed too often: `tower-inbox dead list` shows why, and `dead requeue` lets \
                 them through again",
                self.dead_lettered
            )
        })
    }
}

impl Report {
    pub(super) fn new(consumer: &str, tally: &Tally) -> Self {
        let seconds = tally.took.as_secs_f64();
        let delivered = tally.delivered();
        #[allow(clippy::cast_precision_loss)] // for people
        let per_second = if seconds > 0.0 { delivered as f64 / seconds } else { 0.0 };
        Self {
            consumer: consumer.to_owned(),
            delivered,
            handled: tally.handled,
            duplicates: tally.duplicates,
            in_flight: tally.in_flight,
            failed: tally.failed,
            dead_lettered: tally.dead_lettered,
            redelivered: tally.redelivered,
            dead_letters: tally.dead_letters,
            seconds: (seconds * 1000.0).round() / 1000.0,
            per_second: per_second.round(),
        }
    }

    pub(super) fn text(&self, dead_letters: &DeadLetters) -> String {
        let letters = if self.dead_letters > 0 {
            format!("  in {}", dead_letters.path().display())
        } else {
            String::new()
        };
        let redelivered = if self.redelivered > 0 {
            format!("  {} of them requeued", self.redelivered)
        } else {
            String::new()
        };
        // For those who asked for it.
        let dead_lettered = if self.dead_lettered > 0 {
            format!("  dead-lettered{:>9}\n", self.dead_lettered)
        } else {
            String::new()
        };
        format!(
            "consumer      {}\n\
             delivered     {:>10}{redelivered}\n\
             \x20 handled     {:>10}\n\
             \x20 duplicates  {:>10}\n\
             \x20 in flight   {:>10}\n\
             \x20 failed      {:>10}\n\
             {dead_lettered}\
             \x20 dead letters{:>10}{letters}\n\
             seconds       {:>10.3}\n\
             per second    {:>10}\n",
            self.consumer,
            self.delivered,
            self.handled,
            self.duplicates,
            self.in_flight,
            self.failed,
            self.dead_letters,
            self.seconds,
            self.per_second,
        )
    }
}
