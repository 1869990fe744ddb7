use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Stops asking something that keeps failing, and lets one try through from time to time.
///
/// *Closed*, everything passes. After `limit` failures in a row it is *open* and refuses for `pause`.
/// Then it lets one try through: success closes it, failure opens it for another pause.
#[derive(Debug)]
pub(crate) struct Breaker {
    limit: u32,
    pause: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    Probing,
}

/// Leave for one try. Dropped without a result, as by a future that was dropped, it changes nothing,
/// except that the next one may try.
#[derive(Debug)]
#[must_use]
pub(crate) struct Permit<'a> {
    breaker: &'a Breaker,
    probe: bool,
    told: bool,
}

impl Breaker {
    /// With a limit of 0 it never opens.
    pub(crate) const fn new(limit: u32, pause: Duration) -> Self {
        Self { limit, pause, state: Mutex::new(State::Closed { failures: 0 }) }
    }

    /// Asks for leave to try; the error is how long to wait before asking again.
    pub(crate) fn ask(&self, now: Instant) -> Result<Permit<'_>, Duration> {
        let mut state = self.state();
        let probe = match *state {
            State::Closed { .. } => false,
            State::Open { until } if until <= now => {
                *state = State::Probing;
                true
            }
            State::Open { until } => return Err(until - now),
            // Somebody is finding out.
            State::Probing => return Err(Duration::ZERO),
        };
        Ok(Permit { breaker: self, probe, told: false })
    }

    pub(crate) fn is_open(&self) -> bool {
        !matches!(*self.state(), State::Closed { .. })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    pub(crate) fn succeeded(mut self) {
        self.told = true;
        let mut state = self.breaker.state();
        // A try that began before the breaker opened says nothing about now.
        if self.probe || matches!(*state, State::Closed { .. }) {
            *state = State::Closed { failures: 0 };
        }
    }

    /// Tells of a failure, and whether it opened the breaker.
    pub(crate) fn failed(mut self, now: Instant) -> bool {
        self.told = true;
        let (limit, pause) = (self.breaker.limit, self.breaker.pause);
        let mut state = self.breaker.state();
        match &mut *state {
            State::Closed { failures } if limit > 0 => {
                *failures += 1;
                if *failures >= limit {
                    *state = State::Open { until: now + pause };
                    return true;
                }
            }
            State::Probing if self.probe => {
                *state = State::Open { until: now + pause };
                return true;
            }
            _ => {}
        }
        false
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.probe && !self.told {
            *self.breaker.state() = State::Open { until: Instant::now() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_after_a_try() {
        let (breaker, start) = (Breaker::new(2, PAUSE), Instant::now());
        assert!(!breaker.ask(start).unwrap().failed(start));
        breaker.ask(start).unwrap().succeeded();
        assert!(!breaker.ask(start).unwrap().failed(start), "a success in between counts");
        assert!(breaker.ask(start).unwrap().failed(start));
        assert_eq!(breaker.ask(start).unwrap_err(), PAUSE);

        let later = start + PAUSE;
        let probe = breaker.ask(later).unwrap();
        assert!(breaker.ask(later).is_err(), "one at a time");
        assert!(probe.failed(later));
        assert!(breaker.ask(later).is_err());

        breaker.ask(later + PAUSE).unwrap().succeeded();
        assert!(!breaker.is_open());
    }

    #[test]
    fn a_dropped_try_leaves_the_next_one_its_turn() {
        let (breaker, start) = (Breaker::new(1, PAUSE), Instant::now());
        assert!(breaker.ask(start).unwrap().failed(start));
        drop(breaker.ask(start + PAUSE).unwrap());
        assert!(breaker.ask(Instant::now() + PAUSE).is_ok());
    }

    #[test]
    fn a_late_success_does_not_close_it() {
        let (breaker, start) = (Breaker::new(1, PAUSE), Instant::now());
        let slow = breaker.ask(start).unwrap();
        assert!(breaker.ask(start).unwrap().failed(start));
        slow.succeeded();
        assert!(breaker.is_open());
    }

    #[test]
    fn without_a_limit_it_stays_closed() {
        let (breaker, start) = (Breaker::new(0, PAUSE), Instant::now());
        for _ in 0..100 {
            assert!(!breaker.ask(start).unwrap().failed(start));
        }
        assert!(!breaker.is_open());
    }

    const PAUSE: Duration = Duration::from_secs(5);
}
