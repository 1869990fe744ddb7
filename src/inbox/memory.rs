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
    keys: Mutex<LruCache<InboxKey, Instant>>,
}

impl Memory {
    pub(super) fn new(capacity: usize) -> Self {
        Self { keys: Mutex::new(LruCache::new(capacity)) }
    }

    /// Whether the key was committed and its time is not over.
    pub(super) fn knows(&self, key: InboxKey, now: Instant) -> bool {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        match keys.get(&key) {
            Some(until) if now < *until => true,
            Some(_) => {
                keys.remove(&key);
                false
            }
            None => false,
        }
    }

    /// Keeps a key that was committed, for a time that began at `since`.
    pub(super) fn learn(&self, key: InboxKey, since: Instant, ttl: Duration) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key, since + ttl);
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
        assert!(!memory.knows(key(1), start));
        memory.learn(key(1), start, TTL);
        assert!(memory.knows(key(1), start));
        assert!(memory.knows(key(1), start + TTL - Duration::from_nanos(1)));
        assert!(!memory.knows(key(1), start + TTL));
        assert!(!memory.knows(key(1), start), "it was forgotten for good");
    }

    #[test]
    fn what_was_used_least_goes_first() {
        let (memory, now) = (Memory::new(2), Instant::now());
        for number in [1, 2] {
            memory.learn(key(number), now, TTL);
        }
        assert!(memory.knows(key(1), now));
        memory.learn(key(3), now, TTL);
        assert_eq!([1, 2, 3].map(|number| memory.knows(key(number), now)), [true, false, true]);
    }

    #[test]
    fn a_claim_that_took_long_is_known_for_less() {
        let (memory, asked) = (Memory::new(2), Instant::now());
        let committed = asked + TTL / 2;
        memory.learn(key(1), asked, TTL);
        assert!(memory.knows(key(1), committed));
        assert!(!memory.knows(key(1), committed + TTL / 2));
    }

    fn key(number: u8) -> InboxKey {
        InboxKey::from_bytes([number; 16])
    }

    const TTL: Duration = Duration::from_secs(30);
}
