use std::{error::Error, fmt, time::Duration};

/// How long the redeliveries of a message are recognised: 1 second to 10 years.
///
/// A promise to users, counted by the database's clock from the claim (from its completion in leased
/// mode): at least this long, and less than two seconds longer, because the clock is read in whole
/// seconds. Make it longer than the broker can take to redeliver, dead-letter
/// queues and manual replays included.
///
/// ```
/// use std::time::Duration;
/// use tower_inbox::inbox::Window;
///
/// let window = Window::try_from(Duration::from_secs(24 * 3600))?;
/// assert!(Window::try_from(Duration::ZERO).is_err());
/// # Ok::<(), tower_inbox::inbox::InvalidWindow>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window(u32);

impl Window {
    /// The length in whole seconds, rounded up.
    pub const fn as_secs(self) -> u32 {
        self.0
    }
}

impl Default for Window {
    /// 24 hours: longer than the redelivery horizon of most brokers, and a weekday's worth of rows.
    fn default() -> Self {
        Self(24 * 60 * 60)
    }
}

impl TryFrom<Duration> for Window {
    type Error = InvalidWindow;

    fn try_from(length: Duration) -> Result<Self, Self::Error> {
        if !(SHORTEST..=LONGEST).contains(&length) {
            return Err(InvalidWindow(length));
        }
        let whole = length.as_secs() + u64::from(length.subsec_nanos() > 0);
        Ok(Self(u32::try_from(whole).expect("ten years of seconds fit 32 bits")))
    }
}

impl From<Window> for Duration {
    fn from(window: Window) -> Self {
        Self::from_secs(u64::from(window.0))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0)
    }
}

/// A window, or a lease, that is too short or too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidWindow(Duration);

impl fmt::Display for InvalidWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a window of {:?} is not between 1 second and 10 years", self.0)
    }
}

impl Error for InvalidWindow {}

// A window below the clock's granularity would be no promise at all.
const SHORTEST: Duration = Duration::from_secs(1);
// Seconds since 2020 in 32 bits end in 2088; ten years leave half a century of use.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_one_second_and_ten_years() {
        assert!(Window::try_from(Duration::from_millis(999)).is_err());
        assert_eq!(Window::try_from(Duration::from_secs(1)).unwrap().as_secs(), 1);
        assert_eq!(Window::try_from(LONGEST).unwrap().as_secs(), 315_360_000);
        assert!(Window::try_from(LONGEST + Duration::from_nanos(1)).is_err());
        assert!(Window::try_from(Duration::MAX).is_err());
    }

    #[test]
    fn a_part_of_a_second_counts_as_a_whole_one() {
        assert_eq!(Window::try_from(Duration::from_millis(1001)).unwrap().as_secs(), 2);
    }
}
