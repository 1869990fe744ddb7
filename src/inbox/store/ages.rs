use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{AgeHistogram, ConsumerId};

/// Counts in memory how old duplicates were, until a store writes the counts down.
///
/// Clones count together. A count costs some nanoseconds and no allocation; what is not written down
/// yet is lost with the process.
#[derive(Clone, Default)]
pub struct DuplicateAges(Arc<RwLock<HashMap<ConsumerId, Counts>>>);

type Counts = Box<[AtomicU64; BUCKETS]>;

/// Some duplicates of about the same age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgeCount {
    /// Of which consumer.
    pub consumer: ConsumerId,
    /// They were younger than this power of two, in seconds, and not younger than half of it.
    pub bucket: u32,
    /// How many.
    pub seen: u64,
}

impl DuplicateAges {
    /// Counts a duplicate.
    pub fn note(&self, consumer: ConsumerId, age: Duration) {
        self.add(AgeCount { consumer, bucket: AgeHistogram::bucket(age), seen: 1 });
    }

    /// Takes out what was counted, to write it down.
    pub fn take(&self) -> Vec<AgeCount> {
        let counts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut taken = Vec::new();
        for (consumer, counts) in &*counts {
            for (bucket, seen) in (0..).zip(counts.iter()) {
                let seen = seen.swap(0, Ordering::Relaxed);
                if seen > 0 {
                    taken.push(AgeCount { consumer: *consumer, bucket, seen });
                }
            }
        }
        // Two processes that write the same rows in opposite orders would wait for each other.
        taken.sort_unstable_by_key(|count| (count.consumer.get(), count.bucket));
        taken
    }

    /// Puts back what could not be written down.
    pub fn put_back(&self, counts: Vec<AgeCount>) {
        for count in counts {
            self.add(count);
        }
    }

    fn add(&self, AgeCount { consumer, bucket, seen }: AgeCount) {
        let bucket = bucket as usize;
        {
            let counts = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(counts) = counts.get(&consumer) {
                counts[bucket].fetch_add(seen, Ordering::Relaxed);
                return;
            }
        }
        let mut counts = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let counts = counts
            .entry(consumer)
            .or_insert_with(|| Box::new([const { AtomicU64::new(0) }; BUCKETS]));
        counts[bucket].fetch_add(seen, Ordering::Relaxed);
    }
}

impl fmt::Debug for DuplicateAges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DuplicateAges").finish_non_exhaustive()
    }
}

const BUCKETS: usize = AgeHistogram::LAST as usize + 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_not_counted_again_unless_it_is_put_back() {
        let (ages, billing) = (DuplicateAges::default(), ConsumerId::new(1));
        for seconds in [0, 0, 3, u64::MAX] {
            ages.clone().note(billing, Duration::from_secs(seconds));
        }
        ages.note(ConsumerId::new(-1), Duration::ZERO);
        let taken = ages.take();
        let found: Vec<_> =
            taken.iter().map(|count| (count.consumer.get(), count.bucket, count.seen)).collect();
        assert_eq!(found, [(-1, 0, 1), (1, 0, 2), (1, 2, 1), (1, 30, 1)]);
        assert_eq!(ages.take(), []);
        ages.put_back(taken.clone());
        assert_eq!(ages.take(), taken);
    }
}
