use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Claim, Claimed, CoalesceDriver, DeduplicationConfig, DeduplicationStats, EventIdExtractor,
    EventIds, EventWindow, EventsError, EventsErrorKind,
    backend::{ClaimAnswer, EventBackend, Health},
    coalesce::{Answer, Ask, Queue, perform},
    connect,
    engine::{self, Engine},
    local::LocalCache,
    token::Tokens,
};

/// Tells events that were seen within a window from new ones. Cheap to clone; clones share everything.
///
/// For handlers: [`claim`](Self::claim), handle, [`confirm`](Self::confirm). An event whose handler's
/// process dies is free again after the lease, so a crash does not lose it. Where losing an event in a
/// crash is better than handling it twice, [`check_and_mark`](Self::check_and_mark) is one round trip.
///
/// ```
/// use tower_inbox::{BoxError, events::{Claimed, DeduplicationConfig, EventDeduplicator,
///     EventIdExtractor}};
///
/// struct Payment { id: String, cents: u64 }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let config = DeduplicationConfig::builder().build()?; // or .redis_url("redis://…")
/// let by_id = EventIdExtractor::string(|payment: &Payment| payment.id.clone());
/// let payments = EventDeduplicator::new(config, by_id).await?;
///
/// let payment = Payment { id: "p-7".into(), cents: 100 };
/// if let Claimed::New(claim) = payments.claim(&payment).await? {
///     println!("charging {} cents", payment.cents);
///     payments.confirm(&claim).await?;
/// }
/// assert!(payments.is_duplicate(&payment).await?);
/// # Ok(())
/// # }
/// ```
///
/// # What is not promised
///
/// - That an event is handled once: after a failover of Redis the last marks may be missing, a lease may
///   run out while its handler still works, and what was not confirmed comes again. An event is then
///   handled *twice, never lost*. An inbox in the database of the handler has no such gaps.
/// - That a compact id is the only one with its signature: see
///   [`compress_event_ids`](super::DeduplicationConfigBuilder::compress_event_ids).
/// - That marking before handling is safe. `check_and_mark`, `mark_seen` and `filter` lose an event
///   whose handler's process dies, or whose answer is lost on the way.
///
/// # Cancellation
///
/// A future that is dropped may or may not have marked, claimed, confirmed or released. A claim that
/// nobody knows of ends with its lease.
pub struct EventDeduplicator<T: ?Sized> {
    extractor: EventIdExtractor<T>,
    shared: Arc<Shared>,
    queue: Option<Queue>,
}

#[derive(Debug)]
struct Shared {
    engine: Arc<Engine>,
    local: Option<LocalCache>,
    tokens: Tokens,
    window: EventWindow,
    id_limit: usize,
}

impl<T: ?Sized> EventDeduplicator<T> {
    /// Connects to the store that the configuration names, and looks whether it can keep what is
    /// promised.
    ///
    /// # Errors
    ///
    /// The store cannot be reached (unless the [failure policy](super::FailurePolicy) is open), refuses
    /// us, evicts keys, belongs to a feature that is not there, or was set up with other settings.
    pub async fn new(
        config: DeduplicationConfig,
        extractor: EventIdExtractor<T>,
    ) -> Result<Self, EventsError> {
        let backend = connect::backend(&config).await?;
        Ok(Self::with_backend(config, extractor, backend))
    }

    /// Works on a backend that is already there: one that is shared, or a stranger's.
    ///
    /// The settings that say where marks are kept and how to get there are the backend's own business.
    pub fn with_backend(
        config: DeduplicationConfig,
        extractor: EventIdExtractor<T>,
        backend: impl EventBackend + 'static,
    ) -> Self {
        let settings = config.settings().get();
        let local = (settings.local_cache() > 0)
            .then(|| LocalCache::new(settings.local_cache(), settings.local_ttl()));
        let (window, id_limit) = (config.window(), settings.max_id_bytes());
        let engine = Arc::new(Engine::new(Arc::new(backend), config));
        let shared = Shared { engine, local, tokens: Tokens::new(), window, id_limit };
        Self { extractor, shared: Arc::new(shared), queue: None }
    }

    /// Puts single calls that arrive at the same time into one request, for many tasks that each check
    /// one event at a time.
    ///
    /// The driver does the asking; spawn it. Batches are not touched by it. Calls that wait are kept in
    /// memory; bound how many there are.
    ///
    /// ```
    /// # use tower_inbox::{BoxError, events::{DeduplicationConfig, EventDeduplicator, EventIdExtractor}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// # let config = DeduplicationConfig::default();
    /// # let by_number = EventIdExtractor::hash(|number: &u64| *number);
    /// let (numbers, driver) = EventDeduplicator::new(config, by_number).await?.coalesced();
    /// tokio::spawn(driver);
    /// assert!(numbers.check_and_mark(&7).await?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn coalesced(self) -> (Self, CoalesceDriver) {
        let (queue, driver) = CoalesceDriver::new(Arc::clone(&self.shared.engine));
        (Self { queue: Some(queue), ..self }, driver)
    }

    /// Whether the event was seen within its window. One that is only claimed was not.
    ///
    /// # Errors
    ///
    /// The event has no usable id, or the backend failed and the failure policy is closed.
    pub async fn is_duplicate(&self, event: &T) -> Result<bool, EventsError> {
        let ids = self.id_of(event, engine::IS_DUPLICATE)?;
        if self.knows(&ids) {
            return Ok(true);
        }
        self.one(&ids, Ask::Look).await.map(yes)
    }

    /// Marks the event as seen, whether it was or not.
    ///
    /// # Errors
    ///
    /// Like [`is_duplicate`](Self::is_duplicate).
    pub async fn mark_seen(&self, event: &T) -> Result<(), EventsError> {
        self.mark_in(event, self.shared.window).await
    }

    /// Marks the event as seen for a window of its own.
    ///
    /// One that was seen already keeps the end that it has, even where this window is longer, unless
    /// windows are [sliding](super::DeduplicationConfigBuilder::sliding).
    ///
    /// Events of each distinct window are kept by themselves, and each check looks into all of them, so
    /// there may be [few](super::DeduplicationConfigBuilder::max_windows) different ones.
    ///
    /// # Errors
    ///
    /// Like [`is_duplicate`](Self::is_duplicate); there are too many distinct windows, or it is too
    /// short or too long.
    pub async fn mark_seen_with_ttl(&self, event: &T, ttl: Duration) -> Result<(), EventsError> {
        self.mark_in(event, self.window_of(ttl, engine::MARK_SEEN)?).await
    }

    /// Marks the event as seen; true if it was new. *At most once*: a crash after this call, or an
    /// answer that is lost on the way, loses the event.
    ///
    /// A claim that somebody has on it makes no difference.
    ///
    /// # Errors
    ///
    /// Like [`is_duplicate`](Self::is_duplicate). With
    /// [`OutcomeUnknown`](EventsErrorKind::OutcomeUnknown) the event may be marked, so the next call
    /// may call it a duplicate.
    pub async fn check_and_mark(&self, event: &T) -> Result<bool, EventsError> {
        self.check_and_mark_in(event, self.shared.window).await
    }

    /// [`check_and_mark`](Self::check_and_mark) for a window of its own, as in
    /// [`mark_seen_with_ttl`](Self::mark_seen_with_ttl).
    ///
    /// # Errors
    ///
    /// Like both.
    pub async fn check_and_mark_with_ttl(
        &self,
        event: &T,
        ttl: Duration,
    ) -> Result<bool, EventsError> {
        self.check_and_mark_in(event, self.window_of(ttl, engine::CHECK_AND_MARK)?).await
    }

    /// Claims the event, so that nobody else handles it for as long as the
    /// [lease](super::DeduplicationConfigBuilder::lease).
    ///
    /// A duplicate prolongs a sliding window, with a request of its own.
    ///
    /// # Errors
    ///
    /// Like [`is_duplicate`](Self::is_duplicate).
    pub async fn claim(&self, event: &T) -> Result<Claimed, EventsError> {
        let ids = self.id_of(event, engine::CLAIM)?;
        self.claim_id(&ids).await
    }

    /// Marks a claimed event as seen: it was handled.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`](EventsErrorKind::LeaseLost) when the lease had run out and somebody else has the
    /// event, which is then handled twice. The backend failed; call it again, or the event comes back
    /// after the lease. The failure policy has no say.
    pub async fn confirm(&self, claim: &Claim) -> Result<(), EventsError> {
        let ids: EventIds = [&*claim.id].into_iter().collect();
        let (since, window) = (Instant::now(), self.shared.window);
        if yes(self.one(&ids, Ask::Confirm(claim.token, window)).await?) {
            self.learn(ids.iter(), since, &window);
            Ok(())
        } else {
            Err(self.shared.engine.error(EventsErrorKind::LeaseLost, engine::CONFIRM))
        }
    }

    /// Gives a claimed event up: it was not handled, and the next one to claim it gets it at once.
    ///
    /// # Errors
    ///
    /// The backend failed; the event is free after the lease.
    pub async fn release(&self, claim: &Claim) -> Result<(), EventsError> {
        let ids: EventIds = [&*claim.id].into_iter().collect();
        self.one(&ids, Ask::Release(claim.token)).await.map(drop)
    }

    /// Counts since the deduplicator was made, its clones' included.
    pub fn stats(&self) -> DeduplicationStats {
        let engine = &self.shared.engine;
        engine.counters.read(engine.backend.traffic(), engine.circuit_open())
    }

    /// Looks whether the store is there and can keep what is promised: that it answers, evicts nothing,
    /// lets us write, and has a clock like ours.
    ///
    /// # Errors
    ///
    /// The store does not answer. It is asked once, whatever the breaker says.
    pub async fn health_check(&self) -> Result<Health, EventsError> {
        let engine = &self.shared.engine;
        engine.backend.health().await.map_err(|error| {
            EventsError::new(error.kind(), engine.backend.name(), "health_check", 1).because(error)
        })
    }

    /// Forgets all events and claims of this namespace, bit by bit, so that nobody else waits for it.
    ///
    /// # Errors
    ///
    /// The backend failed. A part may be forgotten; call it again.
    pub async fn clear(&self) -> Result<(), EventsError> {
        let cleared = self.shared.engine.clear().await;
        if let Some(local) = &self.shared.local {
            local.clear();
        }
        cleared
    }

    /// How it was set up.
    pub fn config(&self) -> &DeduplicationConfig {
        &self.shared.engine.config
    }

    pub(super) fn id_of(
        &self,
        event: &T,
        operation: &'static str,
    ) -> Result<EventIds, EventsError> {
        let mut ids = EventIds::with_capacity(1);
        self.extract(event, &mut ids, operation)?;
        Ok(ids)
    }

    pub(super) async fn claim_id(&self, ids: &EventIds) -> Result<Claimed, EventsError> {
        if self.knows(ids) {
            return Ok(Claimed::Duplicate);
        }
        let token = self.shared.tokens.next();
        Ok(match self.one(ids, Ask::Claim(token)).await? {
            Answer::Claim(ClaimAnswer::Seen) => {
                if self.shared.window.is_sliding() {
                    self.one(ids, Ask::Mark(self.shared.window)).await?;
                }
                Claimed::Duplicate
            }
            Answer::Claim(ClaimAnswer::InFlight) => Claimed::InFlight,
            Answer::Claim(ClaimAnswer::Claimed) | Answer::Yes(_) => {
                Claimed::New(Claim { id: ids.get(0).into(), token })
            }
        })
    }

    pub(super) async fn check_and_mark_id(
        &self,
        ids: &EventIds,
        window: EventWindow,
    ) -> Result<bool, EventsError> {
        if self.knows(ids) {
            return Ok(false);
        }
        let since = Instant::now();
        let new = yes(self.one(ids, Ask::CheckAndMark(window)).await?);
        if new {
            self.learn(ids.iter(), since, &window);
        }
        Ok(new)
    }

    pub(super) fn window(&self) -> EventWindow {
        self.shared.window
    }

    async fn mark_in(&self, event: &T, window: EventWindow) -> Result<(), EventsError> {
        let ids = self.id_of(event, engine::MARK_SEEN)?;
        self.one(&ids, Ask::Mark(window)).await.map(drop)
    }

    async fn check_and_mark_in(&self, event: &T, window: EventWindow) -> Result<bool, EventsError> {
        let ids = self.id_of(event, engine::CHECK_AND_MARK)?;
        self.check_and_mark_id(&ids, window).await
    }

    /// Asks for one id, together with others if there are any.
    async fn one(&self, ids: &EventIds, ask: Ask) -> Result<Answer, EventsError> {
        if let Some(queue) = &self.queue
            && let Some(answer) = queue.ask(ids.get(0), ask).await
        {
            // A driver that was dropped is an outage as well.
            let new = match ask {
                Ask::Look => Answer::Yes(false),
                Ask::Mark(_) | Ask::CheckAndMark(_) => Answer::Yes(true),
                Ask::Claim(_) => Answer::Claim(ClaimAnswer::Claimed),
                Ask::Confirm(..) | Ask::Release(_) => return answer,
            };
            let answers = self.shared.engine.or_new(answer.map(|answer| vec![answer]), 1, new)?;
            return Ok(answers[0]);
        }
        let tokens = match ask {
            Ask::Claim(token) | Ask::Confirm(token, _) | Ask::Release(token) => [token],
            Ask::Look | Ask::Mark(_) | Ask::CheckAndMark(_) => [self.shared.tokens.next()],
        };
        let answers = perform(&self.shared.engine, ask, ids, &tokens).await?;
        Ok(answers[0])
    }

    fn extract(
        &self,
        event: &T,
        ids: &mut EventIds,
        operation: &'static str,
    ) -> Result<(), EventsError> {
        self.extractor.extract(event, ids, self.shared.id_limit).map_err(|error| {
            self.shared.engine.error(EventsErrorKind::BadId, operation).because(error)
        })
    }

    fn window_of(
        &self,
        ttl: Duration,
        operation: &'static str,
    ) -> Result<EventWindow, EventsError> {
        let engine = &self.shared.engine;
        engine
            .config
            .window_of(ttl)
            .map_err(|error| engine.error(EventsErrorKind::Config, operation).because(error))
    }

    /// Whether the local cache knows the only id.
    fn knows(&self, ids: &EventIds) -> bool {
        self.known(ids).is_some_and(|known| known[0])
    }

    /// Which ids the local cache knows, counted; none without a cache.
    fn known(&self, ids: &EventIds) -> Option<Vec<bool>> {
        let known = self.shared.local.as_ref()?.recall(ids, Instant::now());
        let hits = known.iter().filter(|known| **known).count();
        let engine = &self.shared.engine;
        engine.counters.hits.add(hits);
        engine.counters.misses.add(ids.len() - hits);
        engine.count(hits, hits, 0);
        crate::telemetry::events_local(hits, ids.len() - hits);
        Some(known)
    }

    fn learn<'a>(&self, ids: impl Iterator<Item = &'a [u8]>, since: Instant, window: &EventWindow) {
        if let Some(local) = &self.shared.local {
            local.learn(ids, since, window);
        }
    }
}

/// Batches: one request, or a few, for many events. They are looked at in order, so of two equal
/// events in a batch the second is the duplicate.
impl<T> EventDeduplicator<T> {
    /// Which events were seen within their windows. Equal events of the batch say nothing about each
    /// other, because nothing is marked.
    ///
    /// # Errors
    ///
    /// An event has no usable id, or the backend failed and the failure policy is closed.
    pub async fn batch_check_duplicates(&self, events: &[T]) -> Result<Vec<bool>, EventsError> {
        let ids = self.ids_of(events, engine::IS_DUPLICATE)?;
        self.unless_known(ids, true, async |ids| self.shared.engine.look(ids).await).await
    }

    /// Marks events as seen.
    ///
    /// # Errors
    ///
    /// Like [`batch_check_duplicates`](Self::batch_check_duplicates).
    pub async fn batch_mark_seen(&self, events: &[T]) -> Result<(), EventsError> {
        let ids = self.ids_of(events, engine::MARK_SEEN)?;
        if ids.is_empty() {
            return Ok(());
        }
        self.shared.engine.mark(&ids, &self.shared.window).await
    }

    /// Marks events as seen, and tells which were new. *At most once*, like
    /// [`check_and_mark`](Self::check_and_mark).
    ///
    /// # Errors
    ///
    /// Like [`check_and_mark`](Self::check_and_mark). A part of the batch may have been marked.
    pub async fn batch_check_and_mark(&self, events: &[T]) -> Result<Vec<bool>, EventsError> {
        let ids = self.ids_of(events, engine::CHECK_AND_MARK)?;
        let window = self.shared.window;
        self.unless_known(ids, false, async |ids| {
            let since = Instant::now();
            let new = self.shared.engine.check_and_mark(ids, &window).await?;
            let marked = ids.iter().zip(&new).filter_map(|(id, new)| new.then_some(id));
            self.learn(marked, since, &window);
            Ok(new)
        })
        .await
    }

    /// The new ones of a batch, in order; they are marked. *At most once*, like
    /// [`check_and_mark`](Self::check_and_mark).
    ///
    /// # Errors
    ///
    /// Like [`batch_check_and_mark`](Self::batch_check_and_mark).
    pub async fn filter<'a>(&self, events: &'a [T]) -> Result<Vec<&'a T>, EventsError> {
        let new = self.batch_check_and_mark(events).await?;
        Ok(events.iter().zip(new).filter_map(|(event, new)| new.then_some(event)).collect())
    }

    /// Claims events. Of two equal ones in the batch the first is claimed and the second in flight.
    ///
    /// # Errors
    ///
    /// Like [`claim`](Self::claim). A part of the batch may have been claimed, until the lease.
    pub async fn batch_claim(&self, events: &[T]) -> Result<Vec<Claimed>, EventsError> {
        let ids = self.ids_of(events, engine::CLAIM)?;
        self.unless_known(ids, Claimed::Duplicate, async |ids| {
            let tokens: Vec<_> = ids.iter().map(|_| self.shared.tokens.next()).collect();
            let answers = self.shared.engine.claim(ids, &tokens).await?;
            if self.shared.window.is_sliding() {
                let seen = ids.iter().zip(&answers).filter(|(_, of)| **of == ClaimAnswer::Seen);
                let seen: EventIds = seen.map(|(id, _)| id).collect();
                if !seen.is_empty() {
                    self.shared.engine.mark(&seen, &self.shared.window).await?;
                }
            }
            let claimed =
                ids.iter().zip(tokens).zip(answers).map(|((id, token), answer)| match answer {
                    ClaimAnswer::Claimed => Claimed::New(Claim { id: id.into(), token }),
                    ClaimAnswer::Seen => Claimed::Duplicate,
                    ClaimAnswer::InFlight => Claimed::InFlight,
                });
            Ok(claimed.collect())
        })
        .await
    }

    /// The answers of `ask` for what the local cache does not know, and `seen` for what it does.
    async fn unless_known<R: Clone>(
        &self,
        ids: EventIds,
        seen: R,
        ask: impl AsyncFnOnce(&EventIds) -> Result<Vec<R>, EventsError>,
    ) -> Result<Vec<R>, EventsError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let Some(known) = self.known(&ids).filter(|known| known.contains(&true)) else {
            return ask(&ids).await;
        };
        let unknown: EventIds =
            ids.iter().zip(&known).filter_map(|(id, known)| (!known).then_some(id)).collect();
        let mut answers = if unknown.is_empty() { Vec::new() } else { ask(&unknown).await? };
        answers.reverse();
        let next = |known| if known { Some(seen.clone()) } else { answers.pop() };
        Ok(known.into_iter().filter_map(next).collect())
    }

    fn ids_of(&self, events: &[T], operation: &'static str) -> Result<EventIds, EventsError> {
        let mut ids = EventIds::with_capacity(events.len());
        for event in events {
            self.extract(event, &mut ids, operation)?;
        }
        Ok(ids)
    }
}

impl<T: ?Sized> EventDeduplicator<T> {
    /// Confirms claims; false for those whose lease was [lost](EventsErrorKind::LeaseLost).
    ///
    /// # Errors
    ///
    /// The backend failed. A part may have been confirmed; call it again.
    pub async fn batch_confirm(&self, claims: &[Claim]) -> Result<Vec<bool>, EventsError> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let (ids, tokens) = parts(claims);
        let (since, window) = (Instant::now(), self.shared.window);
        let confirmed = self.shared.engine.confirm(&ids, &tokens, &window).await?;
        let marked = ids.iter().zip(&confirmed).filter_map(|(id, done)| done.then_some(id));
        self.learn(marked, since, &window);
        Ok(confirmed)
    }

    /// Gives claims up.
    ///
    /// # Errors
    ///
    /// The backend failed; the events are free after the lease.
    pub async fn batch_release(&self, claims: &[Claim]) -> Result<(), EventsError> {
        if claims.is_empty() {
            return Ok(());
        }
        let (ids, tokens) = parts(claims);
        self.shared.engine.release(&ids, &tokens).await.map(drop)
    }
}

fn parts(claims: &[Claim]) -> (EventIds, Vec<super::ClaimToken>) {
    let ids = claims.iter().map(|claim| &*claim.id).collect();
    (ids, claims.iter().map(|claim| claim.token).collect())
}

/// A yes or no, out of an answer that is one.
fn yes(answer: Answer) -> bool {
    matches!(answer, Answer::Yes(true))
}

impl<T: ?Sized> Clone for EventDeduplicator<T> {
    fn clone(&self) -> Self {
        let Self { extractor, shared, queue } = self;
        Self { extractor: extractor.clone(), shared: Arc::clone(shared), queue: queue.clone() }
    }
}

impl<T: ?Sized> fmt::Debug for EventDeduplicator<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventDeduplicator")
            .field("config", self.config())
            .field("coalesced", &self.queue.is_some())
            .finish_non_exhaustive()
    }
}
