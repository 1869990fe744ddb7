use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// How many events go into one request: as many as are answered in a few milliseconds, so that a script
/// does not hold up the others on the server.
#[derive(Debug)]
pub(super) struct Pace {
    fixed: bool,
    size: AtomicUsize,
}

impl Pace {
    pub(super) fn new(fixed: Option<usize>) -> Self {
        Self { fixed: fixed.is_some(), size: AtomicUsize::new(fixed.unwrap_or(START)) }
    }

    pub(super) fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    /// Learns how long a request of so many events took.
    pub(super) fn took(&self, events: usize, time: Duration) {
        let size = self.size();
        // A request that was not full says nothing about a full one.
        if self.fixed || events < size {
            return;
        }
        let next = if time > SLOW {
            size / 2
        } else if time < FAST {
            size + size / 4
        } else {
            return;
        };
        // Two that learn at the same time may both be off by one step.
        self.size.store(next.clamp(SMALLEST, LARGEST), Ordering::Relaxed);
    }
}

const START: usize = 500;
const SMALLEST: usize = 50;
// Lua passes at most 8 000 values to a command, and a claim takes two.
const LARGEST: usize = 2_000;
const FAST: Duration = Duration::from_millis(2);
const SLOW: Duration = Duration::from_millis(8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_while_answers_are_quick_and_halves_when_they_are_slow() {
        let pace = Pace::new(None);
        pace.took(START, FAST / 2);
        assert_eq!(pace.size(), START + START / 4);
        pace.took(START, FAST / 2);
        assert_eq!(pace.size(), START + START / 4, "it was not full");
        for _ in 0..100 {
            pace.took(LARGEST, SLOW * 2);
        }
        assert_eq!(pace.size(), SMALLEST);
        for _ in 0..100 {
            pace.took(LARGEST, Duration::ZERO);
        }
        assert_eq!(pace.size(), LARGEST);
    }

    #[test]
    fn a_fixed_size_stays() {
        let pace = Pace::new(Some(100));
        pace.took(100, Duration::ZERO);
        assert_eq!(pace.size(), 100);
    }
}
