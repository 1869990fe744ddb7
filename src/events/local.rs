use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use hashlink::LruCache;

use super::{EventIds, EventWindow, Signature, signature::new_secret};
use crate::key::Secret;

/// What this process marked or confirmed itself, for a while, in front of the server.
///
/// A time begins before the server was asked to mark, so no entry outlives the mark it stands for.
pub(super) struct LocalCache {
    secret: Secret,
    ttl: Duration,
    known: Mutex<LruCache<Signature, Instant>>,
}

impl LocalCache {
    pub(super) fn new(capacity: usize, ttl: Duration) -> Self {
        Self { secret: new_secret(), ttl, known: Mutex::new(LruCache::new(capacity)) }
    }

    /// Which ids are known to have been seen.
    pub(super) fn recall(&self, ids: &EventIds, now: Instant) -> Vec<bool> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        ids.iter()
            .map(|id| {
                let signature = Signature::of(id, &self.secret);
                match known.get(&signature) {
                    Some(until) if now < *until => true,
                    Some(_) => {
                        known.remove(&signature);
                        false
                    }
                    None => false,
                }
            })
            .collect()
    }

    /// Keeps ids that the server was asked to mark at `since`.
    pub(super) fn learn<'a>(
        &self,
        ids: impl Iterator<Item = &'a [u8]>,
        since: Instant,
        window: &EventWindow,
    ) {
        let until = since + window.length().map_or(self.ttl, |length| length.min(self.ttl));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            known.insert(Signature::of(id, &self.secret), until);
        }
    }

    pub(super) fn clear(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl fmt::Debug for LocalCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCache").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_ends_with_the_window_or_its_own_time() {
        let (cache, start) = (LocalCache::new(2, TTL), Instant::now());
        let ids: EventIds = [b"a".as_slice()].into_iter().collect();
        let short = EventWindow::new(TTL / 2).unwrap();
        for (window, lasts) in [(short, TTL / 2), (EventWindow::default(), TTL)] {
            cache.learn(ids.iter(), start, &window);
            assert_eq!(cache.recall(&ids, start + lasts - Duration::from_nanos(1)), [true]);
            assert_eq!(cache.recall(&ids, start + lasts), [false]);
        }
        cache.learn(ids.iter(), start, &short);
        cache.clear();
        assert_eq!(cache.recall(&ids, start), [false]);
    }

    const TTL: Duration = Duration::from_secs(30);
}
