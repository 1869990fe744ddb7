use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{BackendError, ClaimAnswer, EventBackend, Health, Traffic};
use crate::{
    events::{
        ClaimToken, EventIds, EventWindow, EventsErrorKind, Signature, signature::new_secret,
    },
    hook::BoxFuture,
    key::Secret,
};

/// Keeps marks and claims in the memory of this process: the embedded default. Clones share them.
///
/// Other processes know nothing of them, and a restart forgets them. An event takes some 30 bytes for
/// as long as it is remembered. The clock is the process's monotonic one.
#[derive(Clone)]
pub struct MemoryBackend(Arc<Shared>);

struct Shared {
    secret: Secret,
    capacity: usize,
    windows: usize,
    clock: Clock,
    marks: Mutex<Marks>,
}

type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

#[derive(Default)]
struct Marks {
    series: Vec<Series>,
    claims: HashMap<Signature, (ClaimToken, Duration)>,
    /// When claims that have run out are looked for next.
    sweep: Duration,
}

/// The slots of one window.
struct Series {
    window: Option<Duration>,
    slots: VecDeque<Slot>,
}

struct Slot {
    ends: Duration,
    forgotten: Duration,
    seen: HashSet<Signature>,
}

impl MemoryBackend {
    /// An empty memory, without a limit.
    pub fn new() -> Self {
        let start = Instant::now();
        Self::with_clock(move || start.elapsed())
    }

    /// A memory that goes by another clock, for tests. It must not go backwards.
    pub fn with_clock(clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared {
            secret: new_secret(),
            capacity: usize::MAX,
            windows: WINDOWS,
            clock: Box::new(clock),
            marks: Mutex::default(),
        }))
    }

    /// Sets how many events are remembered at most. Defaults to any number.
    ///
    /// Beyond it marking and claiming fail with [`Full`](EventsErrorKind::Full): nothing that was
    /// promised to be remembered is forgotten for it.
    ///
    /// # Panics
    ///
    /// If there are clones already.
    #[must_use]
    #[track_caller]
    pub fn capacity(mut self, events: usize) -> Self {
        self.shared_mut().capacity = events;
        self
    }

    /// Sets how many distinct windows there may be. Defaults to 8.
    ///
    /// # Panics
    ///
    /// If there are clones already.
    #[must_use]
    #[track_caller]
    pub fn max_windows(mut self, windows: usize) -> Self {
        self.shared_mut().windows = windows;
        self
    }

    /// How many events are remembered, claims not counted.
    pub fn len(&self) -> usize {
        let now = (self.0.clock)();
        let mut marks = self.0.marks();
        marks.forget(now);
        marks.len()
    }

    /// Whether none are.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[track_caller]
    fn shared_mut(&mut self) -> &mut Shared {
        Arc::get_mut(&mut self.0).expect("a memory is set up before it is cloned")
    }

    fn signatures<'a>(&'a self, ids: &'a EventIds) -> impl Iterator<Item = Signature> + 'a {
        ids.iter().map(|id| Signature::of(id, &self.0.secret))
    }

    /// Does something to the marks, with what is over forgotten, and answers at once.
    fn with<'a, R: Send + 'a>(
        &self,
        act: impl FnOnce(&mut Marks, Duration) -> Result<R, BackendError>,
    ) -> BoxFuture<'a, Result<R, BackendError>> {
        let now = (self.0.clock)();
        let mut marks = self.0.marks();
        marks.forget(now);
        let result = act(&mut marks, now);
        drop(marks);
        Box::pin(std::future::ready(result))
    }
}

impl Shared {
    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn room(&self, marks: &Marks, more: usize) -> Result<(), BackendError> {
        let there = marks.len() + marks.claims.len();
        if there.saturating_add(more) > self.capacity {
            let text = format!("the memory holds {there} of {} events", self.capacity);
            return Err(BackendError::new(EventsErrorKind::Full, text));
        }
        Ok(())
    }
}

impl Marks {
    fn len(&self) -> usize {
        self.series.iter().flat_map(|series| &series.slots).map(|slot| slot.seen.len()).sum()
    }

    fn forget(&mut self, now: Duration) {
        for series in &mut self.series {
            while series.slots.front().is_some_and(|slot| slot.forgotten <= now) {
                series.slots.pop_front();
            }
        }
        self.series.retain(|series| !series.slots.is_empty());
        if self.sweep <= now {
            self.claims.retain(|_, (_, until)| *until > now);
            self.sweep = now + SWEEP;
        }
    }

    fn is_seen(&self, signature: Signature) -> bool {
        self.series
            .iter()
            .flat_map(|series| &series.slots)
            .any(|slot| slot.seen.contains(&signature))
    }

    /// The slot that new events of the window go to.
    fn open(
        &mut self,
        window: &EventWindow,
        now: Duration,
        most: usize,
    ) -> Result<&mut Slot, BackendError> {
        let length = window.length();
        let at = match self.series.iter().position(|series| series.window == length) {
            Some(at) => at,
            None if self.series.len() >= most => {
                let text = format!("there are {most} distinct windows already, the most allowed");
                return Err(BackendError::new(EventsErrorKind::TooManyWindows, text));
            }
            None => {
                self.series.push(Series { window: length, slots: VecDeque::new() });
                self.series.len() - 1
            }
        };
        let slots = &mut self.series[at].slots;
        if slots.back().is_none_or(|slot| slot.ends <= now) {
            let (ends, forgotten) = match length {
                Some(length) => {
                    let slot = window.slot().as_nanos();
                    let ends = nanos((now.as_nanos() / slot + 1) * slot);
                    (ends, ends + length)
                }
                None => (Duration::MAX, Duration::MAX),
            };
            slots.push_back(Slot { ends, forgotten, seen: HashSet::new() });
        }
        Ok(slots.back_mut().expect("one was just made"))
    }
}

impl EventBackend for MemoryBackend {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn look<'a>(&'a self, ids: &'a EventIds) -> BoxFuture<'a, Result<Vec<bool>, BackendError>> {
        self.with(|marks, _| Ok(self.signatures(ids).map(|id| marks.is_seen(id)).collect()))
    }

    fn mark<'a>(
        &'a self,
        ids: &'a EventIds,
        window: &'a EventWindow,
    ) -> BoxFuture<'a, Result<Vec<bool>, BackendError>> {
        self.with(|marks, now| {
            self.0.room(marks, ids.len())?;
            marks.open(window, now, self.0.windows)?;
            let mut answers = Vec::with_capacity(ids.len());
            for id in self.signatures(ids) {
                let seen = marks.is_seen(id);
                if !seen || window.is_sliding() {
                    marks.open(window, now, self.0.windows)?.seen.insert(id);
                }
                answers.push(!seen);
            }
            Ok(answers)
        })
    }

    fn claim<'a>(
        &'a self,
        ids: &'a EventIds,
        tokens: &'a [ClaimToken],
        lease: Duration,
    ) -> BoxFuture<'a, Result<Vec<ClaimAnswer>, BackendError>> {
        self.with(|marks, now| {
            self.0.room(marks, ids.len())?;
            let claim = |(id, token): (Signature, &ClaimToken)| {
                if marks.is_seen(id) {
                    return ClaimAnswer::Seen;
                }
                match marks.claims.get(&id) {
                    Some((owner, until)) if owner != token && *until > now => ClaimAnswer::InFlight,
                    _ => {
                        marks.claims.insert(id, (*token, now + lease));
                        ClaimAnswer::Claimed
                    }
                }
            };
            Ok(self.signatures(ids).zip(tokens).map(claim).collect())
        })
    }

    fn confirm<'a>(
        &'a self,
        ids: &'a EventIds,
        tokens: &'a [ClaimToken],
        window: &'a EventWindow,
    ) -> BoxFuture<'a, Result<Vec<bool>, BackendError>> {
        self.with(|marks, now| {
            marks.open(window, now, self.0.windows)?;
            let mut answers = Vec::with_capacity(ids.len());
            for (id, token) in self.signatures(ids).zip(tokens) {
                let theirs = marks
                    .claims
                    .get(&id)
                    .is_some_and(|(owner, until)| owner != token && *until > now);
                if !theirs {
                    marks.claims.remove(&id);
                    marks.open(window, now, self.0.windows)?.seen.insert(id);
                }
                answers.push(!theirs);
            }
            Ok(answers)
        })
    }

    fn release<'a>(
        &'a self,
        ids: &'a EventIds,
        tokens: &'a [ClaimToken],
    ) -> BoxFuture<'a, Result<Vec<bool>, BackendError>> {
        self.with(|marks, _| {
            let release = |(id, token): (Signature, &ClaimToken)| {
                let ours = marks.claims.get(&id).is_some_and(|(owner, _)| owner == token);
                if ours {
                    marks.claims.remove(&id);
                }
                ours
            };
            Ok(self.signatures(ids).zip(tokens).map(release).collect())
        })
    }

    fn clear(&self) -> BoxFuture<'_, Result<(), BackendError>> {
        self.with(|marks, _| {
            *marks = Marks::default();
            Ok(())
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<Health, BackendError>> {
        self.with(|marks, _| {
            let mut health = Health::new(Duration::ZERO);
            health.facts.insert("events".into(), marks.len().to_string());
            health.facts.insert("claims".into(), marks.claims.len().to_string());
            Ok(health)
        })
    }

    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}

impl Default for MemoryBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBackend").finish_non_exhaustive()
    }
}

fn nanos(nanos: u128) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    let secs = u64::try_from(nanos / SECOND).unwrap_or(u64::MAX);
    Duration::new(secs, u32::try_from(nanos % SECOND).expect("less than a second"))
}

const WINDOWS: usize = 8;
// Claims that nobody ended are rare and small.
const SWEEP: Duration = Duration::from_secs(10);
