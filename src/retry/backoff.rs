use std::{fmt, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// How often a failed operation is tried again, and how long to wait before each time.
///
/// The wait doubles from `base` up to `cap`, and a random part of up to the same length is added, so
/// that many processes do not come back at the same moment.
///
/// ```
/// use std::time::Duration;
/// use tower_inbox::events::Retries;
///
/// let retries = Retries::new(5).base(Duration::from_millis(50));
/// assert_eq!(retries.max(), 5);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Retries {
    max: u32,
    base: Duration,
    cap: Duration,
}

/// What may be written in a config file: how often, or all of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    max: u32,
    #[serde(deserialize_with = "time")]
    base: Duration,
    #[serde(deserialize_with = "time")]
    cap: Duration,
}

impl Retries {
    /// Tries again up to `max` times, after 100 ms, 200 ms and so on, up to 5 s.
    pub const fn new(max: u32) -> Self {
        Self { max, base: BASE, cap: CAP }
    }

    /// Sets the first wait. Defaults to 100 ms.
    pub const fn base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// Sets the longest wait, before the random part. Defaults to 5 s; at most an hour.
    pub const fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// How often is tried again.
    pub const fn max(&self) -> u32 {
        self.max
    }

    /// What is wrong with the values, if anything.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.base.is_zero() || self.base > self.cap {
            return Err(format!(
                "the first wait of {:?} before a retry is not between 0 and the longest one, {:?}",
                self.base, self.cap
            ));
        }
        if self.cap > LONGEST {
            return Err(format!("{:?} before a retry is longer than an hour", self.cap));
        }
        Ok(())
    }

    /// The waits, one for each retry.
    pub(crate) fn delays(&self) -> impl Iterator<Item = Duration> + Send + use<> {
        ExponentialBuilder::default()
            .with_min_delay(self.base)
            .with_max_delay(self.cap)
            .with_max_times(usize::try_from(self.max).unwrap_or(usize::MAX))
            .with_jitter()
            .build()
    }
}

impl<'de> Deserialize<'de> for Retries {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Written;

        impl<'de> Visitor<'de> for Written {
            type Value = Retries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("how often to try again, or a table of max, base and cap")
            }

            fn visit_i64<E: Error>(self, max: i64) -> Result<Retries, E> {
                u32::try_from(max).map(Retries::new).map_err(E::custom)
            }

            fn visit_u64<E: Error>(self, max: u64) -> Result<Retries, E> {
                u32::try_from(max).map(Retries::new).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Retries, A::Error> {
                let Table { max, base, cap } = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Retries { max, base, cap })
            }
        }

        from.deserialize_any(Written)
    }
}

impl Default for Table {
    fn default() -> Self {
        Self { max: MAX, base: BASE, cap: CAP }
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self::new(MAX)
    }
}

impl From<u32> for Retries {
    fn from(max: u32) -> Self {
        Self::new(max)
    }
}

/// A duration in a config file: `250ms`, `1h 30m`.
pub(crate) fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_duration(&text).map_err(|error| {
        D::Error::custom(format!("{text:?} is not a time like 250ms or 1h 30m: {error}"))
    })
}

// Three tries bridge a restart of the server's process, and a caller who waits in front of a screen
// still gets an answer within a second.
const MAX: u32 = 3;
const BASE: Duration = Duration::from_millis(100);
const CAP: Duration = Duration::from_secs(5);
// With the random part it has to stay a time that can be added to others.
const LONGEST: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_cap_and_end() {
        let retries = Retries::new(6).cap(Duration::from_millis(800));
        let waits: Vec<_> = retries.delays().collect();
        assert_eq!(waits.len(), 6);
        for (wait, base) in waits.iter().zip([100, 200, 400, 800, 800, 800]) {
            let base = Duration::from_millis(base);
            assert!(*wait >= base && *wait <= base * 2, "{wait:?} for {base:?}");
        }
        assert_eq!(Retries::new(0).delays().count(), 0);
    }

    #[test]
    fn a_first_wait_of_nothing_or_beyond_the_cap_is_refused() {
        assert!(Retries::new(1).base(Duration::ZERO).check().is_err());
        assert!(Retries::new(1).base(Duration::from_secs(6)).check().is_err());
        assert!(Retries::default().check().is_ok());
    }
}
