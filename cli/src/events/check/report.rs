use std::time::{Duration, Instant};

use serde::Serialize;
use tower_inbox::{
    events::DeduplicationStats,
    lines::{BadLine, DeadLetters},
};

use crate::events::store::Store;

/// Counts what became of the lines.
pub(super) struct Tally {
    pub(super) new: u64,
    pub(super) duplicates: u64,
    /// Printed, and perhaps printed again.
    pub(super) unconfirmed: u64,
    /// Marked, and never printed.
    pub(super) lost: u64,
    dead_letters: u64,
    first_dead_letter: Option<String>,
    started: Instant,
    took: Duration,
}

/// What a run came to. `delivered` is the sum of the three after it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    store: String,
    namespace: String,
    delivered: u64,
    new: u64,
    duplicates: u64,
    dead_letters: u64,
    /// Of the new ones, those that passed because the store was away.
    unchecked: u64,
    unconfirmed: u64,
    lost: u64,
    seconds: f64,
    per_second: f64,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            new: 0,
            duplicates: 0,
            unconfirmed: 0,
            lost: 0,
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
        self.new + self.duplicates + self.dead_letters
    }

    /// What people should look at.
    pub(super) fn hint(&self) -> Option<String> {
        if self.delivered() > 0 && self.dead_letters == self.delivered() {
            let first = self.first_dead_letter.as_deref().unwrap_or_default();
            return Some(format!("every line became a dead letter; is --id right? {first}"));
        }
        if self.lost > 0 {
            return Some(format!(
                "{} lines are marked as seen and were not printed: with --at-most-once they are \
                 lost",
                self.lost
            ));
        }
        (self.unconfirmed > 0).then(|| {
            format!(
                "{} lines were printed and could not be confirmed: they may be printed again, by \
                 this command or by another run",
                self.unconfirmed
            )
        })
    }
}

impl Report {
    pub(super) fn new(store: &Store, tally: &Tally, stats: &DeduplicationStats) -> Self {
        let seconds = tally.took.as_secs_f64();
        let delivered = tally.delivered();
        #[allow(clippy::cast_precision_loss)] // for people
        let per_second = if seconds > 0.0 { delivered as f64 / seconds } else { 0.0 };
        Self {
            store: store.shown.clone(),
            namespace: store.config.namespace().to_owned(),
            delivered,
            new: tally.new,
            duplicates: tally.duplicates,
            dead_letters: tally.dead_letters,
            unchecked: stats.failed_open,
            unconfirmed: tally.unconfirmed,
            lost: tally.lost,
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
        let unchecked = if self.unchecked > 0 {
            format!("  {} of them without a check", self.unchecked)
        } else {
            String::new()
        };
        format!(
            "store         {}\n\
             namespace     {}\n\
             delivered     {:>10}\n\
             \x20 new         {:>10}{unchecked}\n\
             \x20 duplicates  {:>10}\n\
             \x20 dead letters{:>10}{letters}\n\
             seconds       {:>10.3}\n\
             per second    {:>10}\n",
            self.store,
            self.namespace,
            self.delivered,
            self.new,
            self.duplicates,
            self.dead_letters,
            self.seconds,
            self.per_second,
        )
    }
}
