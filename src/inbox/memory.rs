use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use hashlink::LruCache;

use crate::key::InboxKey;

/// The keys whose commit this process saw succeed, for a while.
///
/// The clock is the process's monotonic one. A span begins when the claim was asked for, which is
/// before the database began its window, so no entry outlives the claim it stands for.
pub(super) struct Memory {
    keys: Mutex<LruCache<InboxKey, Span>>,
}

#[derive(Clone, Copy)]
struct Span {
    since: Instant,
    until: Instant,
}

impl Memory {
    pub(super) fn new(capacity: usize) -> Self {
        Self { keys: Mutex::new(LruCache::new(capacity)) }
    }

    /// How long ago the key was claimed and then committed, if its time is not over.
    pub(super) fn recall(&self, key: InboxKey, now: Instant) -> Option<Duration> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let Span { since, until } = *keys.get(&key)?;
        if now < until {
            Some(now.saturating_duration_since(since))
        } else {
            keys.remove(&key);
            None
        }
    }

    /// Keeps a key that was committed, for a time that began at `since`.
    pub(super) fn learn(&self, key: InboxKey, since: Instant, ttl: Duration) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key, Span { since, until: since + ttl });
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_committed_is_known_until_its_time_is_over() {
        let (memory, start) = (Memory::new(2), Instant::now());
        assert_eq!(memory.recall(key(1), start), None);
        memory.learn(key(1), start, TTL);
        let last = TTL - Duration::from_nanos(1);
        for age in [Duration::ZERO, last] {
            assert_eq!(memory.recall(key(1), start + age), Some(age));
        }
        assert_eq!(memory.recall(key(1), start + TTL), None);
        assert_eq!(memory.recall(key(1), start), None, "it was forgotten for good");
    }

    #[test]
    fn what_was_used_least_goes_first() {
        let (memory, now) = (Memory::new(2), Instant::now());
        for number in [1, 2] {
            memory.learn(key(number), now, TTL);
        }
        assert!(memory.recall(key(1), now).is_some());
        memory.learn(key(3), now, TTL);
        let known = [1, 2, 3].map(|number| memory.recall(key(number), now).is_some());
        assert_eq!(known, [true, false, true]);
    }

    #[test]
    fn a_claim_that_took_long_is_known_for_less() {
        let (memory, asked) = (Memory::new(2), Instant::now());
        memory.learn(key(1), asked, TTL);
        let committed = asked + TTL / 2;
        assert_eq!(memory.recall(key(1), committed), Some(TTL / 2));
        assert_eq!(memory.recall(key(1), committed + TTL / 2), None);
    }

    fn key(number: u8) -> InboxKey {
        InboxKey::from_bytes([number; 16])
    }

    const TTL: Duration = Duration::from_secs(30);
}
