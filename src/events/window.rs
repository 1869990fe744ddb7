use std::{error::Error, fmt, time::Duration};

/// How long an event is remembered: at least `window`, and less than `window + slot`.
///
/// Time is cut into slots, and what was marked in one slot is forgotten together, by the clock of the
/// server that remembers. A shorter slot forgets more exactly and needs less memory, and each check
/// looks into one more slot: `window / slot + 1` of them.
///
/// ```
/// use std::time::Duration;
/// use tower_inbox::events::EventWindow;
///
/// let hour = EventWindow::new(Duration::from_secs(3600))?;
/// assert_eq!(hour.slot(), Duration::from_secs(900));
/// assert!(EventWindow::new(Duration::ZERO).is_err());
/// # Ok::<(), tower_inbox::events::InvalidEventWindow>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventWindow {
    /// None: for ever.
    length: Option<Duration>,
    slot: Duration,
    sliding: bool,
}

impl EventWindow {
    /// A fixed window: the time counts from when an event was first marked, or confirmed.
    ///
    /// The slot is a quarter of it, at least a second, and at most the window.
    ///
    /// # Errors
    ///
    /// It is not between 100 milliseconds and 10 years.
    pub fn new(length: Duration) -> Result<Self, InvalidEventWindow> {
        if !(SHORTEST..=LONGEST).contains(&length) {
            return Err(InvalidEventWindow::Length(length));
        }
        let slot = whole_millis(length / 4).max(SHORTEST_BY_ITSELF).min(length);
        Ok(Self { length: Some(whole_millis(length)), slot: whole_millis(slot), sliding: false })
    }

    /// Events are remembered until they are [cleared](super::EventDeduplicator::clear). Memory grows
    /// with each.
    pub const fn forever() -> Self {
        Self { length: None, slot: Duration::ZERO, sliding: false }
    }

    /// Sets how exactly the window ends.
    ///
    /// # Errors
    ///
    /// It is below 10 milliseconds, longer than the window, or a 64th of it or less, where each check
    /// would look into too many slots.
    pub fn with_slot(mut self, slot: Duration) -> Result<Self, InvalidEventWindow> {
        let Some(length) = self.length else { return Ok(self) };
        if slot < SHORTEST_SLOT || slot > length || length > slot * MOST_SLOTS {
            return Err(InvalidEventWindow::Slot { slot, window: length });
        }
        self.slot = whole_millis(slot);
        Ok(self)
    }

    /// Counts the time from the last time an event was marked, duplicates included, when it is true.
    #[must_use]
    pub const fn sliding(mut self, sliding: bool) -> Self {
        self.sliding = sliding;
        self
    }

    /// The length; none where it has no end.
    pub const fn length(&self) -> Option<Duration> {
        self.length
    }

    /// How exactly the window ends; zero where it does not.
    pub const fn slot(&self) -> Duration {
        self.slot
    }

    /// Whether a duplicate prolongs it.
    pub const fn is_sliding(&self) -> bool {
        self.sliding
    }
}

impl Default for EventWindow {
    /// An hour: what "seen a moment ago?" means to a stream of webhooks or notifications.
    fn default() -> Self {
        Self::new(Duration::from_secs(3600)).expect("an hour is a window")
    }
}

/// Rounded up, because less would be forgotten early.
fn whole_millis(length: Duration) -> Duration {
    let millis = length.as_nanos().div_ceil(1_000_000);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// A window that cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidEventWindow {
    /// Too short or too long.
    Length(Duration),
    /// A slot that does not fit its window.
    Slot {
        /// The slot.
        slot: Duration,
        /// The window.
        window: Duration,
    },
}

impl fmt::Display for InvalidEventWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(length) => {
                write!(f, "a window of {length:?} is not between 100 milliseconds and 10 years")
            }
            Self::Slot { slot, window } if slot > window => {
                write!(f, "the window of {window:?} is shorter than a slot of {slot:?}")
            }
            Self::Slot { slot, window } => write!(
                f,
                "a slot of {slot:?} is below 10 milliseconds, or more than 64 of them make the \
                 window of {window:?}"
            ),
        }
    }
}

impl Error for InvalidEventWindow {}

// Below it a network's delay would be most of the window.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
// A slot costs a look in each check and a key for each bucket; nobody asked for more of them a second.
const SHORTEST_BY_ITSELF: Duration = Duration::from_secs(1);
const SHORTEST_SLOT: Duration = Duration::from_millis(10);
const MOST_SLOTS: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_is_a_quarter_and_at_least_a_second() {
        let slot = |millis| EventWindow::new(Duration::from_millis(millis)).unwrap().slot();
        assert_eq!(slot(3_600_000), Duration::from_secs(900));
        assert_eq!(slot(2_000), Duration::from_secs(1));
        assert_eq!(slot(500), Duration::from_millis(500));
    }

    #[test]
    fn slots_that_do_not_fit_are_refused() {
        let second = EventWindow::new(Duration::from_secs(1)).unwrap();
        for slot in [0, 9, 15, 1001] {
            assert!(second.with_slot(Duration::from_millis(slot)).is_err(), "{slot}");
        }
        for slot in [16, 500, 1000] {
            assert!(second.with_slot(Duration::from_millis(slot)).is_ok(), "{slot}");
        }
        let error = second.with_slot(Duration::from_secs(2)).unwrap_err().to_string();
        assert_eq!(error, "the window of 1s is shorter than a slot of 2s");
    }

    #[test]
    fn parts_of_a_millisecond_are_rounded_up() {
        let window = EventWindow::new(Duration::from_nanos(100_000_001)).unwrap();
        assert_eq!(window.length(), Some(Duration::from_millis(101)));
    }
}
