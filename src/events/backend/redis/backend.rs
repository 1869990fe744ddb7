use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use redis::{Value, cmd};

use super::{
    layout::{Layout, Problem},
    pace::Pace,
    request::{Event, Member, Request, Stop, digits},
    scripts::Scripts,
    shard::{HASH_BITS, Known},
};
use crate::{
    events::{
        ClaimToken, DeduplicationConfig, EventIds, EventWindow, EventsError, EventsErrorKind,
        Retries, Signature,
        backend::{BackendError, ClaimAnswer, EventBackend, Health, Traffic},
        config::without_password,
    },
    hook::BoxFuture,
    redis::{Call, Certificates, Failure, FailureKind, Link, Options},
};

/// Keeps marks and claims in Redis: a single server, a cluster, or the master that sentinels name.
///
/// Made by [`EventDeduplicator::new`](crate::events::EventDeduplicator::new), or here to be shared by
/// several deduplicators of one namespace. The module's documentation has the design.
pub struct RedisBackend {
    pub(super) link: Link,
    name: String,
    pub(super) base: String,
    pub(super) settings: Wanted,
    pace: Pace,
    agreed: RwLock<Option<Arc<Agreed>>>,
    /// Serialises those who find out, not those who know.
    agreeing: tokio::sync::Mutex<Option<BackendError>>,
    /// How often those who find out have failed; the last error is above.
    failed: AtomicU64,
}

/// What the configuration asks for.
pub(super) struct Wanted {
    shards: Option<u16>,
    exact: bool,
    pub(super) expected: u64,
    pub(super) windows: usize,
    pub(super) allow_eviction: bool,
    retries: Retries,
}

/// What all processes have agreed on, and what follows from it.
pub(super) struct Agreed {
    pub(super) layout: Layout,
    pub(super) scripts: Scripts,
    pub(super) shards: Box<[Shard]>,
}

pub(super) struct Shard {
    pub(super) record: String,
    pub(super) known: Known,
    /// When leases that have run out were looked for last.
    swept: AtomicU64,
}

impl RedisBackend {
    /// Does not connect yet.
    ///
    /// # Errors
    ///
    /// The store's URL, or a file that the configuration names, makes no sense.
    pub fn new(config: &DeduplicationConfig) -> Result<Self, EventsError> {
        let settings = config.settings().get();
        let own = settings.tls_cert().zip(settings.tls_key());
        let options = Options {
            connect_timeout: settings.connect_timeout(),
            response_timeout: settings.read_timeout() + settings.write_timeout(),
            connections: settings.connections(),
            certificates: Certificates { authority: settings.tls_ca(), own },
        };
        let link = Link::new(config.store(), options).map_err(|failure| {
            let kind = kind(&failure);
            EventsError::new(kind, NAME, "connect", 0).because(failure)
        })?;
        let (prefix, namespace) = (settings.key_prefix(), config.namespace());
        Ok(Self {
            link,
            name: without_password(config.store()),
            base: format!("{prefix}{{{namespace}"),
            settings: Wanted {
                shards: settings.shards(),
                exact: !settings.compress_event_ids(),
                expected: settings.expected_events(),
                windows: settings.max_windows(),
                allow_eviction: settings.allow_eviction(),
                retries: settings.retries(),
            },
            pace: Pace::new(settings.pipeline_batch_size()),
            agreed: RwLock::new(None),
            agreeing: tokio::sync::Mutex::new(None),
            failed: AtomicU64::new(0),
        })
    }

    /// Connects, and looks whether the server can keep what is promised.
    ///
    /// Done by the first operation, too.
    ///
    /// # Errors
    ///
    /// The server is not there, refuses us, evicts keys, or has the namespace with other settings.
    pub async fn prepare(&self) -> Result<(), BackendError> {
        self.agreed().await.map(drop)
    }

    async fn agreed(&self) -> Result<Arc<Agreed>, BackendError> {
        if let Some(agreed) = self.known() {
            return Ok(agreed);
        }
        let failed = self.failed.load(Ordering::Acquire);
        let mut one = self.agreeing.lock().await;
        if let Some(agreed) = self.known() {
            return Ok(agreed);
        }
        // Whoever was before us has just found out.
        if self.failed.load(Ordering::Acquire) != failed
            && let Some(error) = &*one
        {
            return Err(error.clone());
        }
        let agreed = match self.refuse_eviction().await {
            Ok(()) => self.agree().await,
            Err(error) => Err(error),
        };
        if let Err(error) = &agreed {
            *one = Some(error.clone());
            self.failed.fetch_add(1, Ordering::Release);
        }
        agreed
    }

    pub(super) fn known(&self) -> Option<Arc<Agreed>> {
        self.agreed.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads what is agreed on, and takes it over.
    async fn agree(&self) -> Result<Arc<Agreed>, BackendError> {
        let masters = if self.link.is_cluster() {
            self.link.ask_masters(&cmd("PING")).await.map_err(failed)?.len()
        } else {
            1
        };
        let shards = self.settings.shards.unwrap_or_else(|| match masters {
            // One server works on one script at a time; parts would only make more of them.
            0 | 1 => 1,
            masters => u16::try_from(masters * SHARDS_A_MASTER).unwrap_or(u16::MAX),
        });
        let exact = self.settings.exact;
        let key = self.layout_key();
        let layout =
            Layout::agree(&self.link, &key, shards, exact).await.map_err(
                |problem| match problem {
                    Problem::Failed(failure) => failed(failure),
                    Problem::Unfit(text) => BackendError::new(EventsErrorKind::Config, text),
                },
            )?;
        self.fits(&layout)?;
        let shards = (0..layout.shards)
            .map(|number| Shard {
                record: format!("{}.{number}}}:m", self.base),
                known: Known::default(),
                swept: AtomicU64::new(0),
            })
            .collect();
        let agreed = Arc::new(Agreed { scripts: Scripts::new(layout.exact), layout, shards });
        *self.agreed.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&agreed));
        Ok(agreed)
    }

    /// Stores the layout again where it is not any more: a server that lost everything lost it, too, and
    /// whoever came next would make another secret and begin anew once more.
    pub(super) async fn keep_layout(&self, agreed: &Agreed) {
        if let Err(error) = agreed.layout.keep(&self.link, &self.layout_key()).await {
            tracing::warn!(%error, "could not look whether the namespace's secret is stored");
        }
    }

    fn layout_key(&self) -> String {
        format!("{}}}:n", self.base)
    }

    /// Refuses to go on beside others who keep the namespace in another way.
    fn fits(&self, layout: &Layout) -> Result<(), BackendError> {
        let unfit = |text| Err(BackendError::new(EventsErrorKind::Config, text));
        if layout.exact != self.settings.exact {
            let (have, want) = if layout.exact { ("exact", "true") } else { ("compact", "false") };
            return unfit(format!(
                "the namespace has {have} ids and compress_event_ids is {want}: use another \
                 namespace, or `clear` this one and remove the key {}}}:n",
                self.base
            ));
        }
        match self.settings.shards {
            Some(shards) if shards != layout.shards => unfit(format!(
                "the namespace has {} shards, not {shards}: leave the setting out, or use another \
                 namespace",
                layout.shards
            )),
            _ => Ok(()),
        }
    }

    /// Does the same for each shard that has events of the batch, and puts the answers together.
    ///
    /// Within a shard requests go one after the other, so that of two equal events the first is first.
    /// Whatever was answered is not asked again: a mark would then pass for seen. For the same reason all
    /// requests are waited for, when one of them has failed, too.
    async fn for_shards(
        &self,
        ids: &EventIds,
        request: Request<'_>,
    ) -> Result<Vec<u8>, BackendError> {
        let mut answers: Vec<Option<u8>> = vec![None; ids.len()];
        let mut under: Option<Arc<Agreed>> = None;
        let mut delays = self.settings.retries.delays();
        for _ in 0..ROUNDS {
            let agreed =
                self.agreed().await.map_err(|error| after_a_part(request, error, &answers))?;
            if under.as_ref().is_some_and(|under| under.layout != agreed.layout) {
                // They are about marks that nobody can read any more.
                answers.fill(None);
            }
            under = Some(Arc::clone(&agreed));
            let mut groups: Vec<Vec<Event<'_>>> = vec![Vec::new(); agreed.shards.len()];
            for (at, id) in ids.iter().enumerate().filter(|(at, _)| answers[*at].is_none()) {
                let signature = Signature::of(id, &agreed.layout.secret);
                let member = if agreed.layout.exact {
                    Member::Exact(id)
                } else {
                    Member::Compact(digits(signature.low))
                };
                let hash = u32::try_from(signature.high >> (64 - HASH_BITS)).expect("20 bits");
                groups[agreed.layout.shard_of(signature)].push(Event { at, hash, member });
            }
            let size = self.pace.size();
            let work = groups.iter().enumerate().filter(|(_, events)| !events.is_empty());
            let work = work.map(|(shard, events)| {
                let agreed = &agreed;
                async move {
                    let shard = &agreed.shards[shard];
                    let mut answers = Vec::with_capacity(events.len());
                    for part in parts(events, size) {
                        let start = Instant::now();
                        match self.ask(request, agreed, shard, part).await {
                            Ok(part_answers) => {
                                self.pace.took(part.len(), start.elapsed());
                                answers.extend(part.iter().map(|event| event.at).zip(part_answers));
                            }
                            Err(stop) => return (answers, Some(stop)),
                        }
                    }
                    (answers, None)
                }
            });
            let (mut foreign, mut failure, mut unknown) = (Vec::new(), None, false);
            for (part, stop) in join_all(work).await {
                part.into_iter().for_each(|(at, answer)| answers[at] = Some(answer));
                match stop {
                    None => {}
                    Some(Stop::Foreign(shard)) => foreign.push(shard),
                    // That it is not known what happened is the worst to hear.
                    Some(Stop::Failed(next)) => {
                        unknown |= next.kind == FailureKind::Unanswered;
                        if failure.is_none() || next.kind == FailureKind::Unanswered {
                            failure = Some(next);
                        }
                    }
                }
            }
            if let Some(failure) = failure {
                let error = after_a_part(request, failed(failure), &answers);
                // The rest of a batch may be asked for again here, where the answers of the others are.
                let rest = error.kind() == EventsErrorKind::OutcomeUnknown && !unknown;
                match delays.next().filter(|_| rest) {
                    Some(delay) => tokio::time::sleep(delay).await,
                    None => return Err(error),
                }
            }
            if foreign.is_empty() && answers.iter().all(Option::is_some) {
                return Ok(answers.into_iter().flatten().collect());
            }
            for shard in foreign {
                self.settle_secret(&agreed, &shard)
                    .await
                    .map_err(|error| after_a_part(request, error, &answers))?;
            }
        }
        let error = BackendError::new(
            EventsErrorKind::Busy,
            "others keep changing the secret of the namespace; was the server emptied?",
        );
        Err(after_a_part(request, error, &answers))
    }

    /// A shard has marks under a secret that is not ours. The one that is stored for the namespace wins:
    /// either we take it over, or the shard's marks are lost, because nobody can read them any more.
    async fn settle_secret(&self, ours: &Agreed, record: &str) -> Result<(), BackendError> {
        let _one = self.agreeing.lock().await;
        let stored = self.agree().await?;
        if stored.layout.mark == ours.layout.mark {
            tracing::warn!("events are signed with a secret that is lost; the shard begins anew");
            let mut call = Call::new(record.to_owned(), 1);
            call.bytes(ours.layout.mark.as_bytes());
            ours.scripts.adopt.run(&self.link, &call).await.map_err(failed)?;
        }
        Ok(())
    }

    async fn clear_shard(&self, agreed: &Agreed, record: &str) -> Result<(), Failure> {
        let run = async |step: &str| {
            let mut call = Call::new(record.to_owned(), 1);
            call.text(step);
            match agreed.scripts.clear.run(&self.link, &call).await? {
                Value::Int(left) => Ok(left),
                _ => Err(Failure::unexpected("an answer to the script that clears")),
            }
        };
        loop {
            match run("begin").await? {
                0 => return Ok(()),
                begun => {
                    while run("go").await? > 0 {}
                    // What an earlier one had left is gone; now for what is there.
                    if begun > 0 {
                        return Ok(());
                    }
                }
            }
        }
    }
}

impl Shard {
    /// Whether it is time, once a second in each process, to look for leases that have run out.
    pub(super) fn sweeps(&self) -> bool {
        let now = u64::try_from(unix_millis()).unwrap_or(0) / 1000;
        self.swept.swap(now, Ordering::Relaxed) != now
    }
}

impl EventBackend for RedisBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn look<'a>(&'a self, ids: &'a EventIds) -> BoxFuture<'a, Result<Vec<bool>, BackendError>> {
        Box::pin(async { self.for_shards(ids, Request::Look).await.map(yes) })
    }

    fn mark<'a>(
        &'a self,
        ids: &'a EventIds,
        window: &'a EventWindow,
    ) -> BoxFuture<'a, Result<Vec<bool>, BackendError>> {
        Box::pin(async move { self.for_shards(ids, Request::Mark(window)).await.map(yes) })
    }

    fn claim<'a>(
        &'a self,
        ids: &'a EventIds,
        tokens: &'a [ClaimToken],
        lease: Duration,
    ) -> BoxFuture<'a, Result<Vec<ClaimAnswer>, BackendError>> {
        Box::pin(async move {
            let flags = self.for_shards(ids, Request::Claim { tokens, lease }).await?;
            let answers = flags.into_iter().map(|flag| match flag {
                b'c' => Ok(ClaimAnswer::Claimed),
                b's' => Ok(ClaimAnswer::Seen),
                b'f' => Ok(ClaimAnswer::InFlight),
                _ => Err(failed(Failure::unexpected("an answer to a claim"))),
            });
            answers.collect()
        })
    }

    fn confirm<'a>(
        &'a self,
        ids: &'a EventIds,
        tokens: &'a [ClaimToken],
        window: &'a EventWindow,
    ) -> BoxFuture<'a, Result<Vec<bool>, BackendError>> {
        Box::pin(
            async move { self.for_shards(ids, Request::Confirm { tokens, window }).await.map(yes) },
        )
    }

    fn release<'a>(
        &'a self,
        ids: &'a EventIds,
        tokens: &'a [ClaimToken],
    ) -> BoxFuture<'a, Result<Vec<bool>, BackendError>> {
        Box::pin(async move { self.for_shards(ids, Request::Release(tokens)).await.map(yes) })
    }

    fn clear(&self) -> BoxFuture<'_, Result<(), BackendError>> {
        Box::pin(async {
            let agreed = self.agreed().await?;
            for shard in &agreed.shards {
                self.clear_shard(&agreed, &shard.record).await.map_err(failed)?;
            }
            Ok(())
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<Health, BackendError>> {
        Box::pin(async { self.look_at().await.map_err(failed) })
    }

    fn traffic(&self) -> Traffic {
        let (written, read) = self.link.traffic();
        Traffic::new(written, read)
    }
}

impl fmt::Debug for RedisBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBackend").field("store", &self.name).finish_non_exhaustive()
    }
}

/// The flags of scripts that answer yes or no.
fn yes(flags: Vec<u8>) -> Vec<bool> {
    flags.into_iter().map(|flag| flag == b'1').collect()
}

/// Pieces of at most so many events, and of so many bytes of exact ids.
fn parts<'e, 'a>(
    mut events: &'e [Event<'a>],
    size: usize,
) -> impl Iterator<Item = &'e [Event<'a>]> + use<'e, 'a> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |event: &&Event<'_>| {
            bytes += match event.member {
                Member::Exact(id) => id.len(),
                Member::Compact(_) => 0,
            };
            bytes <= MAX_BYTES
        };
        let count = events.iter().take(size).take_while(fits).count().max(1);
        let (part, rest) = events.split_at_checked(count)?;
        events = rest;
        Some(part)
    })
}

/// Who asks again for all of a batch, of which a part is marked, is told that this part was seen.
fn after_a_part(request: Request<'_>, error: BackendError, answers: &[Option<u8>]) -> BackendError {
    let nothing_happened = matches!(
        error.kind(),
        EventsErrorKind::Unreachable | EventsErrorKind::Busy | EventsErrorKind::Full
    );
    if request.is_repeatable() || !nothing_happened || answers.iter().all(Option::is_none) {
        return error;
    }
    BackendError::new(EventsErrorKind::OutcomeUnknown, error)
}

pub(super) fn failed(failure: Failure) -> BackendError {
    BackendError::new(kind(&failure), failure)
}

fn kind(failure: &Failure) -> EventsErrorKind {
    match failure.kind {
        FailureKind::Unreachable => EventsErrorKind::Unreachable,
        FailureKind::Unanswered => EventsErrorKind::OutcomeUnknown,
        FailureKind::Busy => EventsErrorKind::Busy,
        FailureKind::Full => EventsErrorKind::Full,
        FailureKind::Refused => EventsErrorKind::Refused,
        FailureKind::Config => EventsErrorKind::Config,
        FailureKind::TooManyWindows => EventsErrorKind::TooManyWindows,
        FailureKind::ForeignSecret | FailureKind::Other => EventsErrorKind::Other,
    }
}

pub(super) fn unix_millis() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |elapsed| i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

const NAME: &str = "redis";
// A request of long ids holds the server up like one of many.
const MAX_BYTES: usize = 1 << 20;
// Between 4 and 16: fewer do not spread evenly over the masters, more make many small requests.
const SHARDS_A_MASTER: usize = 8;
// Each round settles one shard; whoever still finds a foreign secret has company that does not agree.
const ROUNDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_cut_by_number_and_by_bytes() {
        let long = vec![0; MAX_BYTES / 2];
        let event = |id| Event { at: 0, hash: 0, member: Member::Exact(id) };
        let lengths = |events: &[Event<'_>], size| -> Vec<usize> {
            parts(events, size).map(<[_]>::len).collect()
        };
        assert_eq!(lengths(&[event(b"a"); 5], 2), [2, 2, 1]);
        assert_eq!(lengths(&[event(&long); 5], 100), [2, 2, 1]);
        let huge = vec![0; MAX_BYTES * 2];
        assert_eq!(lengths(&[event(&huge), event(b"a"), event(&huge)], 100), [1, 1, 1]);
        assert!(lengths(&[], 2).is_empty());
    }
}
