use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use redis::{Value, cmd};

use super::{
    layout::{Layout, Problem},
    pace::Pace,
    scripts::Scripts,
    shard::{HASH_BITS, Known},
};
use crate::{
    events::{
        ClaimToken, DeduplicationConfig, EventIds, EventWindow, EventsError, EventsErrorKind,
        Signature,
        backend::{BackendError, ClaimAnswer, EventBackend, Health, Traffic},
        config::without_password,
    },
    hook::BoxFuture,
    redis::{Call, Certificates, Failure, FailureKind, Link, Options, Script},
};

/// Keeps marks and claims in Redis: a single server, a cluster, or the master that sentinels name.
///
/// Made by [`EventDeduplicator::new`](crate::events::EventDeduplicator::new), or here to be shared by
/// several deduplicators of one namespace. The module's documentation has the design.
pub struct RedisBackend {
    link: Link,
    name: String,
    base: String,
    settings: Wanted,
    pace: Pace,
    agreed: RwLock<Option<Arc<Agreed>>>,
    /// Serialises those who find out, not those who know.
    agreeing: tokio::sync::Mutex<()>,
}

/// What the configuration asks for.
struct Wanted {
    shards: Option<u16>,
    exact: bool,
    expected: u64,
    windows: usize,
    allow_eviction: bool,
}

/// What all processes have agreed on, and what follows from it.
struct Agreed {
    layout: Layout,
    scripts: Scripts,
    shards: Box<[Shard]>,
}

struct Shard {
    record: String,
    known: Known,
    /// When leases that have run out were looked for last.
    swept: AtomicU64,
}

/// One event on its way to a shard.
#[derive(Debug, Clone, Copy)]
struct Event<'a> {
    /// Its place in the caller's batch.
    at: usize,
    hash: u32,
    member: Member<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Member<'a> {
    Compact(i64),
    Exact(&'a [u8]),
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
            },
            pace: Pace::new(settings.pipeline_batch_size()),
            agreed: RwLock::new(None),
            agreeing: tokio::sync::Mutex::new(()),
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
        let _one = self.agreeing.lock().await;
        if let Some(agreed) = self.known() {
            return Ok(agreed);
        }
        self.refuse_eviction().await?;
        self.agree().await
    }

    fn known(&self) -> Option<Arc<Agreed>> {
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
        let key = format!("{}}}:n", self.base);
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

    async fn refuse_eviction(&self) -> Result<(), BackendError> {
        let policies = self.eviction().await.map_err(failed)?;
        match policies.into_iter().find(|policy| policy != NO_EVICTION) {
            Some(policy) if !self.settings.allow_eviction => {
                Err(BackendError::new(EventsErrorKind::Refused, eviction_problem(&policy)))
            }
            Some(policy) => {
                tracing::warn!(policy, "the server evicts keys, so events may be forgotten early");
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// What each master does when its memory is full; `noeviction` where it has no limit.
    async fn eviction(&self) -> Result<Vec<String>, Failure> {
        let mut info = cmd("INFO");
        info.arg("memory");
        let answers = match self.link.ask_masters(&info).await {
            Ok(answers) => answers,
            Err(failure) if failure.kind == FailureKind::Refused => {
                tracing::warn!("not allowed to ask for the eviction policy (+info)");
                return Ok(Vec::new());
            }
            Err(failure) => return Err(failure),
        };
        Ok(answers
            .iter()
            .map(|answer| info_fields(answer))
            .map(|info| {
                let get = |name: &str| info.iter().find(|(field, _)| field == name);
                let limited = get("maxmemory").is_none_or(|(_, limit)| limit != "0");
                match get("maxmemory_policy") {
                    Some((_, policy)) if limited => policy.clone(),
                    _ => NO_EVICTION.to_owned(),
                }
            })
            .collect())
    }

    /// Does the same for each shard that has events of the batch, and puts the answers together.
    ///
    /// Within a shard requests go one after the other, so that of two equal events the first is first.
    async fn for_shards<'a, R: Copy + Send>(
        &'a self,
        ids: &'a EventIds,
        blank: R,
        ask: impl AsyncRequest<R>,
    ) -> Result<Vec<R>, BackendError> {
        for _ in 0..ROUNDS {
            let agreed = self.agreed().await?;
            let mut groups: Vec<Vec<Event<'a>>> = vec![Vec::new(); agreed.shards.len()];
            for (at, id) in ids.iter().enumerate() {
                let signature = Signature::of(id, &agreed.layout.secret);
                let member = if agreed.layout.exact {
                    Member::Exact(id)
                } else {
                    Member::Compact(signature.low.cast_signed())
                };
                let hash = u32::try_from(signature.high >> (64 - HASH_BITS)).expect("20 bits");
                groups[agreed.layout.shard_of(signature)].push(Event { at, hash, member });
            }
            let size = self.pace.size();
            let work = groups.iter().enumerate().filter(|(_, events)| !events.is_empty());
            let work = work.map(|(shard, events)| {
                let (agreed, ask) = (&agreed, &ask);
                async move {
                    let shard = &agreed.shards[shard];
                    let mut answers = Vec::with_capacity(events.len());
                    for part in events.chunks(size) {
                        let start = Instant::now();
                        let part_answers = ask.ask(self, agreed, shard, part).await?;
                        self.pace.took(part.len(), start.elapsed());
                        answers.extend(part.iter().map(|event| event.at).zip(part_answers));
                    }
                    Ok(answers)
                }
            });
            match try_join_all(work).await {
                Ok(parts) => {
                    let mut all = vec![blank; ids.len()];
                    for (at, answer) in parts.into_iter().flatten() {
                        all[at] = answer;
                    }
                    return Ok(all);
                }
                Err(Stop::Foreign(shard)) => self.settle_secret(&agreed, &shard).await?,
                Err(Stop::Failed(failure)) => return Err(failed(failure)),
            }
        }
        Err(BackendError::new(
            EventsErrorKind::Busy,
            "others keep changing the secret of the namespace; was the server emptied?",
        ))
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

    async fn look_at(&self) -> Result<Health, Failure> {
        let start = Instant::now();
        self.link.ask(&cmd("PING")).await?;
        let mut health = Health::new(start.elapsed());
        for policy in self.eviction().await? {
            if policy != NO_EVICTION {
                health.problems.push(eviction_problem(&policy));
            }
            health.facts.insert("eviction".to_owned(), policy);
        }
        let before = unix_millis();
        let clock = self.link.ask(&cmd("TIME")).await?;
        if let Some(theirs) = server_millis(&clock) {
            let ours = before.midpoint(unix_millis());
            let ahead = theirs - ours;
            health.facts.insert("clock_ahead_ms".to_owned(), ahead.to_string());
            if ahead.abs() > CLOCK_TOLERANCE_MS {
                health.problems.push(format!(
                    "the server's clock is {ahead} ms ahead of ours; windows go by the server's, so \
                     only a jump of it matters: synchronise both"
                ));
            }
        }
        let mut eval = cmd("EVAL");
        eval.arg("return 7").arg(1).arg(format!("{}}}:n", self.base));
        match self.link.ask(&eval).await {
            Ok(Value::Int(7)) => {}
            Ok(_) => health.problems.push("scripts answer something else than they say".to_owned()),
            Err(failure) if failure.kind == FailureKind::Refused => {
                health.problems.push("scripts are not allowed: grant +@scripting".to_owned());
            }
            Err(failure) => return Err(failure),
        }
        self.facts(&mut health).await?;
        Ok(health)
    }

    /// What there is to know of the server and the namespace.
    async fn facts(&self, health: &mut Health) -> Result<(), Failure> {
        let mut info = cmd("INFO");
        info.arg("server");
        if let Ok(answers) = self.link.ask_masters(&info).await {
            health.facts.insert("masters".to_owned(), answers.len().to_string());
            if let Some(version) = answers.iter().find_map(|answer| {
                info_fields(answer).into_iter().find(|(name, _)| name == "redis_version")
            }) {
                health.facts.insert("redis".to_owned(), version.1);
            }
        }
        let Some(agreed) = self.known() else { return Ok(()) };
        let (mut events, mut claims, mut tables) = (0_u64, 0_i64, 0_usize);
        for shard in &agreed.shards {
            let mut read = cmd("HGETALL");
            read.arg(&shard.record);
            for (name, value) in pairs(&self.link.ask(&read).await?) {
                match name.as_bytes().first() {
                    Some(b'c') => events += value.parse::<u64>().unwrap_or(0),
                    Some(b't') => tables += value.matches(';').count(),
                    _ => {}
                }
            }
            let mut count = cmd("HLEN");
            count.arg(format!("{}c", shard.record.trim_end_matches('m')));
            if let Value::Int(held) = self.link.ask(&count).await? {
                claims += held;
            }
        }
        for (name, value) in [
            ("events", events.to_string()),
            ("claims", claims.to_string()),
            ("tables", tables.to_string()),
            ("shards", agreed.shards.len().to_string()),
            ("ids", if agreed.layout.exact { "exact" } else { "compact" }.to_owned()),
        ] {
            health.facts.insert(name.to_owned(), value);
        }
        Ok(())
    }

    /// Begins a call that may add to a table.
    fn adding(
        &self,
        agreed: &Agreed,
        shard: &Shard,
        window: &EventWindow,
        events: &[Event<'_>],
    ) -> Call {
        let (length, slot) = (window_millis(window), millis(window.slot()));
        // How many events a slot holds in this shard, if the caller knows.
        let parts = u64::from(agreed.layout.shards) * length.checked_div(slot).unwrap_or(1).max(1);
        let hashes: Vec<_> = events.iter().map(|event| event.hash).collect();
        let (table, mask) = shard.known.about(length, &hashes);
        let mut call = Call::new(shard.record.clone(), 8 + events.len() * 3);
        call.bytes(agreed.layout.mark.as_bytes())
            .text(length)
            .text(slot.max(1))
            .text(self.settings.expected / parts)
            .text(self.settings.windows)
            .text(table)
            .bytes(&mask);
        call
    }

    /// Runs a script that may add to a table; its flags, once what they say about the table is learnt.
    async fn add(
        &self,
        script: &Script,
        call: &Call,
        shard: &Shard,
        window: &EventWindow,
        events: &[Event<'_>],
    ) -> Result<Vec<u8>, Stop> {
        let answer = self.run(script, call, shard).await?;
        let Value::Array(answer) = answer else { return Err(unexpected()) };
        let [Value::BulkString(flags), Value::BulkString(table), Value::Int(bits)] = &answer[..]
        else {
            return Err(unexpected());
        };
        let bits = u32::try_from(*bits).map_err(|_| unexpected())?;
        let flags = checked(flags.clone(), events)?;
        let added = events.iter().zip(&flags).filter(|(_, flag)| **flag == b'1');
        let added = added.map(|(event, _)| event.hash);
        let table = String::from_utf8_lossy(table);
        shard.known.learn(window_millis(window), &table, bits, added);
        Ok(flags)
    }

    async fn run(&self, script: &Script, call: &Call, shard: &Shard) -> Result<Value, Stop> {
        script.run(&self.link, call).await.map_err(|failure| match failure.kind {
            FailureKind::ForeignSecret => Stop::Foreign(shard.record.clone()),
            _ => Stop::Failed(failure),
        })
    }

    async fn flags(
        &self,
        script: &Script,
        call: &Call,
        shard: &Shard,
        events: &[Event<'_>],
    ) -> Result<Vec<u8>, Stop> {
        match self.run(script, call, shard).await? {
            Value::BulkString(flags) => checked(flags, events),
            _ => Err(unexpected()),
        }
    }
}

/// Why a request stopped.
enum Stop {
    /// The shard with this record is under another secret.
    Foreign(String),
    Failed(Failure),
}

fn unexpected() -> Stop {
    Stop::Failed(Failure::unexpected("an answer to a script"))
}

fn checked(flags: Vec<u8>, events: &[Event<'_>]) -> Result<Vec<u8>, Stop> {
    if flags.len() == events.len() { Ok(flags) } else { Err(unexpected()) }
}

/// One request to one shard.
trait AsyncRequest<R>: Sync {
    fn ask<'r>(
        &'r self,
        backend: &'r RedisBackend,
        agreed: &'r Agreed,
        shard: &'r Shard,
        events: &'r [Event<'r>],
    ) -> BoxFuture<'r, Result<Vec<R>, Stop>>;
}

struct Look;

impl AsyncRequest<bool> for Look {
    fn ask<'r>(
        &'r self,
        backend: &'r RedisBackend,
        agreed: &'r Agreed,
        shard: &'r Shard,
        events: &'r [Event<'r>],
    ) -> BoxFuture<'r, Result<Vec<bool>, Stop>> {
        Box::pin(async move {
            let mut call = Call::new(shard.record.clone(), 1 + events.len() * 2);
            call.bytes(agreed.layout.mark.as_bytes());
            for event in events {
                event.push(&mut call);
            }
            let flags = backend.flags(&agreed.scripts.look, &call, shard, events).await?;
            Ok(flags.into_iter().map(|flag| flag == b'1').collect())
        })
    }
}

struct Mark<'a>(&'a EventWindow);

impl AsyncRequest<bool> for Mark<'_> {
    fn ask<'r>(
        &'r self,
        backend: &'r RedisBackend,
        agreed: &'r Agreed,
        shard: &'r Shard,
        events: &'r [Event<'r>],
    ) -> BoxFuture<'r, Result<Vec<bool>, Stop>> {
        Box::pin(async move {
            let mut call = backend.adding(agreed, shard, self.0, events);
            call.text(u8::from(self.0.is_sliding()));
            for event in events {
                event.push(&mut call);
            }
            let script = &agreed.scripts.mark;
            let flags = backend.add(script, &call, shard, self.0, events).await?;
            Ok(flags.into_iter().map(|flag| flag == b'1').collect())
        })
    }
}

struct Claim<'a> {
    tokens: &'a [ClaimToken],
    lease: Duration,
}

impl AsyncRequest<ClaimAnswer> for Claim<'_> {
    fn ask<'r>(
        &'r self,
        backend: &'r RedisBackend,
        agreed: &'r Agreed,
        shard: &'r Shard,
        events: &'r [Event<'r>],
    ) -> BoxFuture<'r, Result<Vec<ClaimAnswer>, Stop>> {
        Box::pin(async move {
            let mut call = Call::new(shard.record.clone(), 3 + events.len() * 3);
            call.bytes(agreed.layout.mark.as_bytes())
                .text(millis(self.lease).max(1))
                .text(u8::from(shard.sweeps()));
            for event in events {
                event.push(&mut call);
                call.bytes(self.tokens[event.at].as_bytes());
            }
            let flags = backend.flags(&agreed.scripts.claim, &call, shard, events).await?;
            let answers = flags.into_iter().map(|flag| match flag {
                b'c' => Ok(ClaimAnswer::Claimed),
                b's' => Ok(ClaimAnswer::Seen),
                b'f' => Ok(ClaimAnswer::InFlight),
                _ => Err(unexpected()),
            });
            answers.collect()
        })
    }
}

struct Confirm<'a> {
    tokens: &'a [ClaimToken],
    window: &'a EventWindow,
}

impl AsyncRequest<bool> for Confirm<'_> {
    fn ask<'r>(
        &'r self,
        backend: &'r RedisBackend,
        agreed: &'r Agreed,
        shard: &'r Shard,
        events: &'r [Event<'r>],
    ) -> BoxFuture<'r, Result<Vec<bool>, Stop>> {
        Box::pin(async move {
            let mut call = backend.adding(agreed, shard, self.window, events);
            for event in events {
                event.push(&mut call);
                call.bytes(self.tokens[event.at].as_bytes());
            }
            let script = &agreed.scripts.confirm;
            let flags = backend.add(script, &call, shard, self.window, events).await?;
            Ok(flags.into_iter().map(|flag| flag == b'1').collect())
        })
    }
}

struct Release<'a>(&'a [ClaimToken]);

impl AsyncRequest<bool> for Release<'_> {
    fn ask<'r>(
        &'r self,
        backend: &'r RedisBackend,
        agreed: &'r Agreed,
        shard: &'r Shard,
        events: &'r [Event<'r>],
    ) -> BoxFuture<'r, Result<Vec<bool>, Stop>> {
        Box::pin(async move {
            let mut call = Call::new(shard.record.clone(), 1 + events.len() * 3);
            call.bytes(agreed.layout.mark.as_bytes());
            for event in events {
                event.push(&mut call);
                call.bytes(self.0[event.at].as_bytes());
            }
            let flags = backend.flags(&agreed.scripts.release, &call, shard, events).await?;
            Ok(flags.into_iter().map(|flag| flag == b'1').collect())
        })
    }
}

impl Event<'_> {
    fn push(&self, call: &mut Call) {
        let bit = |at| if self.hash >> (HASH_BITS - 1 - at) & 1 == 1 { b'1' } else { b'0' };
        call.bytes(&std::array::from_fn::<_, { HASH_BITS as usize }, _>(|at| bit(at as u32)));
        match self.member {
            // As text, because numbers in Lua are exact to 53 bits only.
            Member::Compact(member) => call.text(member),
            Member::Exact(id) => call.bytes(id),
        };
    }
}

impl Shard {
    /// Whether it is time, once a second in each process, to look for leases that have run out.
    fn sweeps(&self) -> bool {
        let now = u64::try_from(unix_millis()).unwrap_or(0) / 1000;
        self.swept.swap(now, Ordering::Relaxed) != now
    }
}

impl EventBackend for RedisBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn look<'a>(&'a self, ids: &'a EventIds) -> BoxFuture<'a, Result<Vec<bool>, BackendError>> {
        Box::pin(self.for_shards(ids, false, Look))
    }

    fn mark<'a>(
        &'a self,
        ids: &'a EventIds,
        window: &'a EventWindow,
    ) -> BoxFuture<'a, Result<Vec<bool>, BackendError>> {
        Box::pin(self.for_shards(ids, false, Mark(window)))
    }

    fn claim<'a>(
        &'a self,
        ids: &'a EventIds,
        tokens: &'a [ClaimToken],
        lease: Duration,
    ) -> BoxFuture<'a, Result<Vec<ClaimAnswer>, BackendError>> {
        Box::pin(self.for_shards(ids, ClaimAnswer::InFlight, Claim { tokens, lease }))
    }

    fn confirm<'a>(
        &'a self,
        ids: &'a EventIds,
        tokens: &'a [ClaimToken],
        window: &'a EventWindow,
    ) -> BoxFuture<'a, Result<Vec<bool>, BackendError>> {
        Box::pin(self.for_shards(ids, false, Confirm { tokens, window }))
    }

    fn release<'a>(
        &'a self,
        ids: &'a EventIds,
        tokens: &'a [ClaimToken],
    ) -> BoxFuture<'a, Result<Vec<bool>, BackendError>> {
        Box::pin(self.for_shards(ids, false, Release(tokens)))
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

fn failed(failure: Failure) -> BackendError {
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

fn eviction_problem(policy: &str) -> String {
    format!(
        "the server evicts keys when its memory is full (maxmemory-policy {policy}), which forgets \
         hundreds of events at once: set it to noeviction, or set allow_eviction if that is all right"
    )
}

/// The fields of an answer to INFO.
fn info_fields(answer: &Value) -> Vec<(String, String)> {
    let text = match answer {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::VerbatimString { text, .. } => text.clone(),
        Value::SimpleString(text) => text.clone(),
        _ => String::new(),
    };
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

/// The fields of an answer to HGETALL.
fn pairs(answer: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    };
    match answer {
        Value::Array(values) => {
            values.chunks_exact(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
        }
        Value::Map(pairs) => pairs.iter().map(|(name, value)| (text(name), text(value))).collect(),
        _ => Vec::new(),
    }
}

fn server_millis(clock: &Value) -> Option<i64> {
    let Value::Array(parts) = clock else { return None };
    let number = |at: usize| match parts.get(at)? {
        Value::BulkString(bytes) => str::from_utf8(bytes).ok()?.parse::<i64>().ok(),
        _ => None,
    };
    Some(number(0)? * 1000 + number(1)? / 1000)
}

fn unix_millis() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |elapsed| i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
}

fn window_millis(window: &EventWindow) -> u64 {
    window.length().map_or(0, millis)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

const NAME: &str = "redis";
const NO_EVICTION: &str = "noeviction";
// Between 4 and 16: fewer do not spread evenly over the masters, more make many small requests.
const SHARDS_A_MASTER: usize = 8;
// Each round settles one shard; whoever still finds a foreign secret has company that does not agree.
const ROUNDS: usize = 64;
const CLOCK_TOLERANCE_MS: i64 = 2_000;
