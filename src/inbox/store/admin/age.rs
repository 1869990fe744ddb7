use std::time::Duration;

/// How old the duplicates of a consumer were, when they were recognised.
///
/// Tells how long a window must be, from below: what came after the window was not recognised, and is
/// not in here. Counts are kept in memory and written down by the sweeper; those since its last round
/// are missing, and those of a process that crashed are lost.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AgeHistogram {
    /// From the youngest on, without gaps, up to the oldest that was seen.
    pub buckets: Vec<AgeBucket>,
}

/// How many duplicates were younger than this, and not younger than half of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgeBucket {
    /// A power of two, in seconds.
    pub younger_than: Duration,
    /// How many.
    pub seen: u64,
}

impl AgeHistogram {
    // Longer than the longest window.
    pub(in crate::inbox::store) const LAST: u32 = 30;

    /// Makes one out of pairs of a bucket's number and its count: the duplicates of bucket `n` were
    /// younger than 2^n seconds. For stores.
    pub fn new(counts: impl IntoIterator<Item = (u32, u64)>) -> Self {
        let mut buckets: Vec<AgeBucket> = Vec::new();
        for (number, seen) in counts {
            let number = number.min(Self::LAST) as usize;
            while buckets.len() <= number {
                let younger_than = Duration::from_secs(1 << buckets.len());
                buckets.push(AgeBucket { younger_than, seen: 0 });
            }
            buckets[number].seen += seen;
        }
        Self { buckets }
    }

    /// The number of the bucket that an age falls into.
    pub fn bucket(age: Duration) -> u32 {
        (u64::BITS - age.as_secs().leading_zeros()).min(Self::LAST)
    }

    /// How many duplicates there were.
    pub fn total(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.seen).sum()
    }

    /// The share of these duplicates, from 0 to 1, that a window would have recognised for sure:
    /// those in buckets that end within it. `None` if there were no duplicates.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_inbox::inbox::store::AgeHistogram;
    ///
    /// // Three within a second, one after a minute.
    /// let ages = AgeHistogram::new([(0, 3), (6, 1)]);
    /// assert_eq!(ages.share_within(Duration::from_secs(32)), Some(0.75));
    /// assert_eq!(ages.share_within(Duration::from_secs(64)), Some(1.0));
    /// ```
    #[allow(clippy::cast_precision_loss)] // a share is for people
    pub fn share_within(&self, window: Duration) -> Option<f64> {
        let within = self.buckets.iter().filter(|bucket| bucket.younger_than <= window);
        let within: u64 = within.map(|bucket| bucket.seen).sum();
        let total = self.total();
        (total > 0).then(|| within as f64 / total as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_younger_than_the_end_of_its_bucket_and_not_than_half_of_it() {
        for seconds in [0, 1, 2, 3, 4, 59, 60, 64, 86_400, 315_360_000] {
            let bucket = AgeHistogram::bucket(Duration::from_secs(seconds));
            assert!(seconds < 1 << bucket, "{seconds}");
            assert!(bucket == 0 || seconds >= 1 << (bucket - 1), "{seconds}");
        }
        assert_eq!(AgeHistogram::bucket(Duration::MAX), AgeHistogram::LAST);
    }

    #[test]
    fn no_duplicates_have_no_share() {
        assert_eq!(AgeHistogram::default().share_within(Duration::MAX), None);
        assert_eq!(AgeHistogram::new([(0, 0)]).share_within(Duration::MAX), None);
    }
}
