use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    InboxLayer, Window,
    memory::Memory,
    store::{BatchStore, ConsumerId, Earlier, InboxStore},
};
use crate::{error::StoreError, hook::BoxFuture, key::InboxKey};

impl<St: InboxStore, K, X> InboxLayer<St, K, X> {
    /// Remembers so many keys that this process committed, and answers their redeliveries without
    /// asking the database. Off by default.
    ///
    /// For redeliveries that come soon and to the same process: a broker whose acknowledgement was
    /// lost, a sender that tries again, overlapping polls. One that is remembered costs no round trip
    /// and less than a microsecond (a read of what was kept, where
    /// [responses](super::replay) or [fingerprints](Self::fingerprint) are). Keys are compared whole, so a hit is never somebody else's; the
    /// one that was used least goes first. A key takes some 100 bytes. Clones of the layer, and their
    /// services, share one memory.
    ///
    /// # What it does not see
    ///
    /// A claim that is taken out of the table by hand, or by `tower-inbox inbox forget`, stays
    /// remembered here for up to the [`local_ttl`](Self::local_ttl): until then this process drops
    /// the message as a duplicate, and only others handle it. Likewise after the database was
    /// restored from a backup; restart the consumers then.
    ///
    /// Time is this process's monotonic clock, which no adjustment of the clock moves. It counts from
    /// the moment at which the claim was asked for, so nothing is remembered for longer than its
    /// window.
    pub fn remember(mut self, keys: usize) -> Self {
        self.config.known.memory = (keys > 0).then(|| Arc::new(Memory::new(keys)));
        self
    }

    /// Sets for how long a key is [remembered](Self::remember). Defaults to 30 seconds, and is never
    /// more than the window.
    pub fn local_ttl(mut self, ttl: Duration) -> Self {
        self.config.known.local_ttl = ttl;
        self
    }
}

impl<St: BatchStore + 'static, K, X> InboxLayer<St, K, X> {
    /// Looks whether a message is handled before claiming it. Off by default.
    ///
    /// A look is one read outside of any transaction, and writes nothing. On PostgreSQL a duplicate
    /// that is found so costs the server about half of one that a claim finds, and leaves no line in
    /// its log; a message that is new costs one round trip more. So it pays where most deliveries
    /// are duplicates: a replay, a topic read from its beginning once more. A batch is looked up as
    /// a whole, which costs little either way.
    pub fn read_first(mut self) -> Self {
        let store = Arc::clone(&self.store);
        self.config.known.read =
            Some(Arc::new(move |consumer, keys| store.handled(consumer, keys)));
        self
    }
}

/// What tells duplicates without a claim. Clones share it.
#[derive(Clone)]
pub(super) struct Known {
    memory: Option<Arc<Memory>>,
    local_ttl: Duration,
    read: Option<Arc<Read>>,
}

type Read = dyn Fn(ConsumerId, Vec<InboxKey>) -> BoxFuture<'static, Handled> + Send + Sync;
type Handled = Result<Vec<Option<Earlier>>, StoreError>;

/// How a message is known to be handled.
#[derive(Clone, Copy)]
pub(super) enum Sighting {
    /// This process committed it.
    Remembered(Earlier),
    /// The store says so; a dead letter is handled in this sense, too.
    Read(Earlier),
}

impl Known {
    /// Looks for one message.
    pub(super) async fn look(
        &self,
        consumer: ConsumerId,
        key: InboxKey,
    ) -> Result<Option<Sighting>, StoreError> {
        if let Some(sighting) = self.recall(key) {
            return Ok(Some(sighting));
        }
        let Some(read) = &self.read else { return Ok(None) };
        let found = read(consumer, vec![key]).await?;
        Ok(found.into_iter().next().flatten().map(Sighting::Read))
    }

    /// Looks for many, and reads all that are not remembered at once.
    pub(super) async fn look_for_all(
        &self,
        consumer: ConsumerId,
        keys: &[InboxKey],
    ) -> Result<Vec<Option<Sighting>>, StoreError> {
        let mut sightings: Vec<_> = keys.iter().map(|key| self.recall(*key)).collect();
        let Some(read) = &self.read else { return Ok(sightings) };
        let asked: Vec<InboxKey> = keys
            .iter()
            .zip(&sightings)
            .filter(|(_, sighting)| sighting.is_none())
            .map(|(key, _)| *key)
            .collect();
        if !asked.is_empty() {
            let unseen = sightings.iter_mut().filter(|sighting| sighting.is_none());
            for (sighting, found) in unseen.zip(read(consumer, asked).await?) {
                *sighting = found.map(Sighting::Read);
            }
        }
        Ok(sightings)
    }

    /// Takes note of a message whose commit succeeded and whose claim was asked for at `since`.
    pub(super) fn learn(&self, key: InboxKey, since: Instant, window: Window) {
        if let Some(memory) = &self.memory {
            memory.learn(key, since, self.local_ttl.min(window.into()));
        }
    }

    fn recall(&self, key: InboxKey) -> Option<Sighting> {
        let age = self.memory.as_ref()?.recall(key, Instant::now())?;
        Some(Sighting::Remembered(Earlier::ago(Duration::from_secs(age.as_secs()))))
    }
}

impl Default for Known {
    fn default() -> Self {
        Self { memory: None, local_ttl: LOCAL_TTL, read: None }
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known")
            .field("memory", &self.memory)
            .field("local_ttl", &self.local_ttl)
            .field("read_first", &self.read.is_some())
            .finish()
    }
}

// Most redeliveries come within seconds, and somebody who makes the database forget a key does not
// wait for long.
const LOCAL_TTL: Duration = Duration::from_secs(30);
