use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::Instrument;

use super::{
    ClaimToken, DeduplicationConfig, EventIds, EventWindow, EventsError, EventsErrorKind,
    FailurePolicy,
    backend::{BackendError, ClaimAnswer, EventBackend},
    stats::Counters,
};
use crate::{hook::BoxFuture, retry::Breaker, telemetry};

/// Asks the backend: again where that helps, not at all while the breaker is open, and with the
/// failure policy's answer where there is none.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) backend: Arc<dyn EventBackend>,
    pub(super) config: DeduplicationConfig,
    pub(super) counters: Counters,
    breaker: Breaker,
}

impl Engine {
    pub(super) fn new(backend: Arc<dyn EventBackend>, config: DeduplicationConfig) -> Self {
        let settings = config.settings().get();
        let breaker = Breaker::new(settings.breaker_failures(), settings.breaker_pause());
        Self { backend, config, counters: Counters::default(), breaker }
    }

    /// Which have been seen.
    pub(super) async fn look(&self, ids: &EventIds) -> Result<Vec<bool>, EventsError> {
        let ask = || self.backend.look(ids);
        let seen = self.ask_each(IS_DUPLICATE, ids.len(), Repeat::Always, ask).await;
        let seen = self.or_new(seen, ids.len(), false)?;
        self.count(seen.iter().filter(|seen| **seen).count(), ids.len(), 0);
        Ok(seen)
    }

    /// Marks what was seen by somebody who need not know whether it was new.
    pub(super) async fn mark(
        &self,
        ids: &EventIds,
        window: &EventWindow,
    ) -> Result<(), EventsError> {
        let ask = || self.backend.mark(ids, window);
        let marked = self.ask_each(MARK_SEEN, ids.len(), Repeat::Always, ask).await;
        self.or_new(marked, ids.len(), true).map(drop)
    }

    /// Marks, and tells which were new. Not repeated when it is not known whether it took effect: the
    /// second answer would say that nothing was new.
    pub(super) async fn check_and_mark(
        &self,
        ids: &EventIds,
        window: &EventWindow,
    ) -> Result<Vec<bool>, EventsError> {
        let ask = || self.backend.mark(ids, window);
        let new = self.ask_each(CHECK_AND_MARK, ids.len(), Repeat::IfNothingHappened, ask).await;
        let new = self.or_new(new, ids.len(), true)?;
        self.count(new.iter().filter(|new| !**new).count(), ids.len(), 0);
        Ok(new)
    }

    pub(super) async fn claim(
        &self,
        ids: &EventIds,
        tokens: &[ClaimToken],
    ) -> Result<Vec<ClaimAnswer>, EventsError> {
        let lease = self.config.lease();
        let ask = || self.backend.claim(ids, tokens, lease);
        let answers = self.ask_each(CLAIM, ids.len(), Repeat::Always, ask).await;
        let answers = self.or_new(answers, ids.len(), ClaimAnswer::Claimed)?;
        let of = |wanted| answers.iter().filter(|answer| **answer == wanted).count();
        self.count(of(ClaimAnswer::Seen), ids.len(), of(ClaimAnswer::InFlight));
        Ok(answers)
    }

    pub(super) async fn confirm(
        &self,
        ids: &EventIds,
        tokens: &[ClaimToken],
        window: &EventWindow,
    ) -> Result<Vec<bool>, EventsError> {
        let ask = || self.backend.confirm(ids, tokens, window);
        let confirmed = self.ask_each(CONFIRM, ids.len(), Repeat::Always, ask).await;
        match &confirmed {
            Ok(confirmed) => self.unconfirmed(confirmed.iter().filter(|done| !**done).count()),
            Err(_) => self.unconfirmed(ids.len()),
        }
        confirmed
    }

    pub(super) async fn release(
        &self,
        ids: &EventIds,
        tokens: &[ClaimToken],
    ) -> Result<Vec<bool>, EventsError> {
        let ask = || self.backend.release(ids, tokens);
        self.ask_each(RELEASE, ids.len(), Repeat::Always, ask).await
    }

    pub(super) async fn clear(&self) -> Result<(), EventsError> {
        self.ask("clear", 0, Repeat::Always, || self.backend.clear()).await
    }

    pub(super) fn circuit_open(&self) -> bool {
        self.breaker.is_open()
    }

    /// An error that was found before the backend was asked.
    pub(super) fn error(&self, kind: EventsErrorKind, operation: &'static str) -> EventsError {
        EventsError::new(kind, self.backend.name(), operation, 0)
    }

    /// Asks for an answer to each event; a backend that gives another number of them has failed.
    async fn ask_each<'a, R>(
        &'a self,
        operation: &'static str,
        events: usize,
        repeat: Repeat,
        ask: impl Fn() -> BoxFuture<'a, Result<Vec<R>, BackendError>>,
    ) -> Result<Vec<R>, EventsError> {
        let answers = self.ask(operation, events, repeat, ask).await?;
        if answers.len() == events {
            return Ok(answers);
        }
        let reason = format!("the backend gave {} answers to {events} events", answers.len());
        Err(EventsError::new(EventsErrorKind::Other, self.backend.name(), operation, 1)
            .because(reason))
    }

    async fn ask<'a, R>(
        &'a self,
        operation: &'static str,
        events: usize,
        repeat: Repeat,
        ask: impl Fn() -> BoxFuture<'a, Result<R, BackendError>>,
    ) -> Result<R, EventsError> {
        let backend = self.backend.name();
        let start = Instant::now();
        let span = tracing::debug_span!("events.request", backend, operation, events);
        let asked = self.ask_until(operation, repeat, ask).instrument(span).await;
        let took = start.elapsed();
        // What the breaker refused took no time, and would make the mean look good.
        if !matches!(&asked, Err(error) if error.kind() == EventsErrorKind::CircuitOpen) {
            self.counters.took(took);
            telemetry::events_asked(backend, operation, took);
        }
        if events > 1 {
            self.counters.batches.add(1);
        }
        if let Err(error) = &asked {
            self.counters.errors.add(1);
            telemetry::events_failed(backend, operation, error.kind().as_str());
        }
        asked
    }

    async fn ask_until<'a, R>(
        &'a self,
        operation: &'static str,
        repeat: Repeat,
        ask: impl Fn() -> BoxFuture<'a, Result<R, BackendError>>,
    ) -> Result<R, EventsError> {
        let backend = self.backend.name();
        let permit = self.breaker.ask(Instant::now()).map_err(|wait| {
            self.error(EventsErrorKind::CircuitOpen, operation)
                .because(format!("the next try is let through in {wait:?}"))
        })?;
        let mut delays = self.config.settings().get().retries().delays();
        let mut attempts = 1;
        loop {
            let error = match ask().await {
                Ok(answer) => {
                    permit.succeeded();
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let again = error.kind().is_passing()
                && (repeat == Repeat::Always || error.kind() != EventsErrorKind::OutcomeUnknown);
            match delays.next().filter(|_| again) {
                Some(delay) => {
                    tracing::warn!(
                        backend,
                        operation,
                        attempts,
                        ?delay,
                        error = cause(&error),
                        "asking again"
                    );
                    self.counters.retries.add(1);
                    telemetry::events_retried(backend, operation);
                    wait(delay).await;
                    attempts += 1;
                }
                None => {
                    let opened = if error.kind().is_outage() {
                        permit.failed(Instant::now())
                    } else {
                        // It answered, if not what was hoped for.
                        permit.succeeded();
                        false
                    };
                    tracing::error!(
                        backend,
                        operation,
                        attempts,
                        opened,
                        error = cause(&error),
                        "gave up"
                    );
                    return Err(
                        EventsError::new(error.kind(), backend, operation, attempts).because(error)
                    );
                }
            }
        }
    }

    /// The answer, or what the failure policy has instead.
    pub(super) fn or_new<R: Clone>(
        &self,
        answers: Result<Vec<R>, EventsError>,
        events: usize,
        new: R,
    ) -> Result<Vec<R>, EventsError> {
        let open = self.config.failure_policy() == FailurePolicy::Open;
        match answers {
            Err(error) if open && error.kind().is_outage() => {
                tracing::warn!(events, error = cause(&error), "let pass without a check");
                self.counters.failed_open.add(events);
                telemetry::events_failed_open(self.backend.name(), events);
                Ok(vec![new; events])
            }
            answers => answers,
        }
    }

    fn unconfirmed(&self, events: usize) {
        self.counters.unconfirmed.add(events);
    }

    /// Counts events that were checked, wherever the answer came from.
    pub(super) fn count(&self, duplicates: usize, checked: usize, in_flight: usize) {
        let new = checked - duplicates - in_flight;
        let Counters { checked: all, duplicates: seen, new: fresh, in_flight: claimed, .. } =
            &self.counters;
        all.add(checked);
        seen.add(duplicates);
        fresh.add(new);
        claimed.add(in_flight);
        telemetry::events_checked(self.backend.name(), duplicates, new, in_flight);
        tracing::trace!(duplicates, new, in_flight, "checked");
    }
}

/// When an operation may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Always,
    IfNothingHappened,
}

async fn wait(delay: Duration) {
    tokio::time::sleep(delay).await;
}

/// An error and what is below it, in a line.
fn cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        text += &format!(": {error}");
        below = error.source();
    }
    text
}

pub(super) const IS_DUPLICATE: &str = "is_duplicate";
pub(super) const MARK_SEEN: &str = "mark_seen";
pub(super) const CHECK_AND_MARK: &str = "check_and_mark";
pub(super) const CLAIM: &str = "claim";
pub(super) const CONFIRM: &str = "confirm";
pub(super) const RELEASE: &str = "release";
