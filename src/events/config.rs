use std::{error::Error, fmt, path::PathBuf, time::Duration};

use serde::Deserialize;

use super::{EventWindow, FailurePolicy, Retries};

/// How an [`EventDeduplicator`](super::EventDeduplicator) works: where it keeps what it saw, for how
/// long, and what it does when that place is away.
///
/// Made by the [`builder`](Self::builder), out of a config file through serde, or out of
/// [environment variables](Self::from_env). The names are the same everywhere: `window` is the setter,
/// the key in the file, and `TOWER_INBOX_EVENTS_WINDOW`.
///
/// ```
/// use std::time::Duration;
/// use tower_inbox::events::DeduplicationConfig;
///
/// let by_hand = DeduplicationConfig::builder()
///     .redis_url("redis://127.0.0.1/")
///     .window(Duration::from_secs(600))
///     .retries(5)
///     .build()?;
/// let by_file = DeduplicationConfig::from_toml(
///     r#"
///     store = "redis://127.0.0.1/"
///     window = "10m"
///     retries.max = 5
///     "#,
/// )?;
/// assert_eq!(by_hand, by_file);
/// # Ok::<(), tower_inbox::events::InvalidConfig>(())
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
pub struct DeduplicationConfig(DeduplicationConfigBuilder);

/// Collects the settings of a [`DeduplicationConfig`]; [`build`](Self::build) checks them.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[must_use = "a builder does nothing until it is built"]
pub struct DeduplicationConfigBuilder {
    #[serde(alias = "redis_url")]
    store: String,
    namespace: String,
    key_prefix: String,
    #[serde(alias = "default_ttl", deserialize_with = "limit")]
    window: Limit,
    #[serde(deserialize_with = "time")]
    slot: Option<Duration>,
    sliding: bool,
    #[serde(deserialize_with = "duration")]
    lease: Duration,
    #[serde(deserialize_with = "duration")]
    connect_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    read_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    write_timeout: Duration,
    connections: usize,
    retries: Retries,
    pipeline_batch_size: Option<usize>,
    coalesce_limit: usize,
    compress_event_ids: bool,
    max_id_bytes: usize,
    max_windows: usize,
    expected_events: u64,
    shards: Option<u16>,
    local_cache: usize,
    #[serde(deserialize_with = "duration")]
    local_ttl: Duration,
    failure_policy: FailurePolicy,
    breaker_failures: u32,
    #[serde(deserialize_with = "duration")]
    breaker_pause: Duration,
    allow_eviction: bool,
    tls_ca: Option<PathBuf>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    For(Duration),
    Forever,
}

impl DeduplicationConfig {
    /// Begins with the defaults.
    pub fn builder() -> DeduplicationConfigBuilder {
        DeduplicationConfigBuilder::default()
    }

    /// Reads the settings from TOML text.
    ///
    /// # Errors
    ///
    /// It is not TOML, names a setting that there is not, or a value makes no sense.
    pub fn from_toml(text: &str) -> Result<Self, InvalidConfig> {
        let builder: DeduplicationConfigBuilder = toml::from_str(text).map_err(|error| {
            // The line itself may have a password in it.
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            InvalidConfig(format!("the TOML, line {line}: {}", error.message()))
        })?;
        builder.build()
    }

    /// Reads the settings from the variables `TOWER_INBOX_EVENTS_…`; what is not set is the default.
    ///
    /// The names are those of the setters in capitals: `TOWER_INBOX_EVENTS_STORE`,
    /// `TOWER_INBOX_EVENTS_WINDOW=10m`, `TOWER_INBOX_EVENTS_RETRIES_MAX=5`.
    ///
    /// # Errors
    ///
    /// A variable names a setting that there is not, is not Unicode, or its value makes no sense.
    pub fn from_env() -> Result<Self, InvalidConfig> {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            let setting = name.strip_prefix(VARIABLES)?.to_lowercase();
            Some(match value.into_string() {
                Ok(value) => Ok((setting, value)),
                Err(_) => Err(InvalidConfig(format!("the variable {name} is not Unicode"))),
            })
        });
        let variables: Vec<_> = variables.collect::<Result<_, _>>()?;
        Self::from_variables(variables)
    }

    /// Reads the settings from names and values, as [`from_env`](Self::from_env) finds them.
    ///
    /// # Errors
    ///
    /// Like [`from_env`](Self::from_env).
    pub fn from_variables<N: AsRef<str>, V: AsRef<str>>(
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, InvalidConfig> {
        let (mut settings, mut retries) = (toml::Table::new(), toml::Table::new());
        let builder = |settings: toml::Table, name: &str| {
            settings.try_into::<DeduplicationConfigBuilder>().map_err(|error| {
                InvalidConfig(format!("the environment, {name}: {}", error.message()))
            })
        };
        for (name, value) in variables {
            let (name, value) = (name.as_ref(), value.as_ref());
            let (part, all) = match name.strip_prefix("retries_") {
                Some(part) => (part, &mut retries),
                None => (name, &mut settings),
            };
            all.insert(part.to_owned(), plain(part, value));
            // By itself first: the error for all of them does not say which one it is about.
            let alone = toml::Table::from_iter([(part.to_owned(), plain(part, value))]);
            let alone = if part == name {
                alone
            } else {
                toml::Table::from_iter([("retries".to_owned(), alone.into())])
            };
            let _ = builder(alone, name)?;
        }
        if !retries.is_empty() {
            settings.insert("retries".to_owned(), retries.into());
        }
        builder(settings, "all together")?.build()
    }

    /// Where marks are kept.
    pub fn store(&self) -> &str {
        &self.0.store
    }

    /// What keeps deduplicators on one server apart.
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// How long an event is remembered.
    pub fn window(&self) -> EventWindow {
        self.0.event_window().expect("`build` has checked it")
    }

    /// A window for one call, with the slot and the way of the configured one where that fits.
    pub(super) fn window_of(&self, length: Duration) -> Result<EventWindow, InvalidConfig> {
        let window = EventWindow::new(length).map_err(|error| InvalidConfig(error.to_string()))?;
        let slot = self.0.slot.and_then(|slot| window.with_slot(slot).ok());
        Ok(slot.unwrap_or(window).sliding(self.0.sliding))
    }

    /// How long a claim lasts.
    pub fn lease(&self) -> Duration {
        self.0.lease
    }

    /// What a failing backend does to callers.
    pub fn failure_policy(&self) -> FailurePolicy {
        self.0.failure_policy
    }

    pub(super) fn settings(&self) -> &DeduplicationConfigBuilder {
        &self.0
    }
}

impl fmt::Debug for DeduplicationConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for DeduplicationConfig {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        DeduplicationConfigBuilder::deserialize(from)?.build().map_err(serde::de::Error::custom)
    }
}

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident: $type:ty $(=> $convert:expr)?,)*) => {
        impl DeduplicationConfigBuilder {$(
            $(#[$doc])*
            pub fn $name(mut self, $name: $type) -> Self {
                self.$name = settings!(@ $name $(=> $convert)?);
                self
            }
        )*}
    };
    (@ $name:ident) => { $name };
    (@ $name:ident => $convert:expr) => { $convert($name) };
}

settings! {
    /// Sets where marks are kept. Defaults to `memory`.
    ///
    /// - `memory`: this process alone.
    /// - `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, with TLS `rediss://…`, or `redis+unix:///SOCKET`
    ///   (feature `redis`, and `redis-tls`).
    /// - `redis-cluster://HOST:PORT,HOST:PORT`, with TLS `rediss-cluster://…`.
    /// - `redis-sentinel://HOST:PORT,HOST:PORT/MASTER[/DB]`, with TLS to the servers
    ///   `rediss-sentinel://…`.
    /// - `postgres://…` (feature `postgres`).
    store: impl Into<String> => Into::into,
    /// Sets what keeps deduplicators on one server apart: letters, digits, `-`, `_` and `.`. Defaults
    /// to `default`.
    namespace: impl Into<String> => Into::into,
    /// Sets what every key in Redis begins with. Defaults to `ti:e:`.
    key_prefix: impl Into<String> => Into::into,
    /// Sets how exactly the window ends; see [`EventWindow`]. Defaults to a quarter of it, and at least
    /// a second.
    slot: Duration => Some,
    /// Sets whether the window counts from the last time that an event was marked, duplicates included.
    /// Defaults to false: from the first.
    sliding: bool,
    /// Sets how long a claim lasts, and so how long an event waits whose handler's process died.
    /// Defaults to a minute; longer than any handler takes. At most 12 hours.
    lease: Duration,
    /// Sets how long making a connection may take. Defaults to 5 seconds.
    connect_timeout: Duration,
    /// Sets how long to wait for an answer. Defaults to 2 seconds.
    read_timeout: Duration,
    /// Sets how long a request may wait until it has left. Defaults to 2 seconds. Both together bound
    /// a round trip: requests of all callers leave through one connection.
    write_timeout: Duration,
    /// Sets how many connections there are. Defaults to 1, which many callers share without loss.
    connections: usize,
    /// Sets how many events go into one request. Defaults to as many as the server answers for within
    /// a few milliseconds, which is found out; 1 to 2 000.
    pipeline_batch_size: usize => Some,
    /// Sets how many calls go into one request at most where calls are
    /// [put together](super::EventDeduplicator::coalesced). Defaults to 1 000.
    coalesce_limit: usize,
    /// Sets whether a signature stands for an event's id. Defaults to true.
    ///
    /// On Redis a compact id takes 9 bytes. A new event is taken for one that was seen with a chance of
    /// 5 in 10¹⁷ for each slot that the check looks into, and is then lost: one in 4 000 000 000 000 000
    /// with the default slot. Nobody can bring it about, because the signature is keyed. Exact ids take
    /// their own length and some 8 bytes, and cannot be taken for each other.
    compress_event_ids: bool,
    /// Sets how many bytes an id may have. Defaults to 64 KiB.
    max_id_bytes: usize,
    /// Sets how many distinct windows there may be in a namespace. Defaults to 8: each check looks into
    /// all of them.
    max_windows: usize,
    /// Sets how many events a window is expected to hold. Defaults to 0, not known; then the first
    /// window uses a little more memory, and it is counted from then on.
    expected_events: u64,
    /// Sets into how many parts a namespace is cut on Redis. Defaults to 1 on a single server, and to
    /// 8 for each master of a cluster. The first process to use a namespace decides; others take over
    /// what it decided, and refuse what was set to something else.
    shards: u16 => Some,
    /// Sets how many events this process remembers by itself in front of the server. Defaults to 0.
    ///
    /// It knows what it marked or confirmed itself; a duplicate of that costs no round trip.
    local_cache: usize,
    /// Sets how long an event stays in the local cache, where it may outlive a `clear` by another
    /// process. Defaults to 30 seconds; at most a day.
    local_ttl: Duration,
    /// Sets what a failing backend does to callers. Defaults to [`FailurePolicy::Closed`].
    failure_policy: FailurePolicy,
    /// Sets after how many failed operations in a row the circuit breaker opens. Defaults to 5; 0 is
    /// never.
    breaker_failures: u32,
    /// Sets how long the circuit breaker stays open before it lets one operation through. Defaults to
    /// 5 seconds; at most a day.
    breaker_pause: Duration,
    /// Sets whether a server may be used that evicts keys when its memory is full. Defaults to false:
    /// it would forget hundreds of events at once, and say nothing.
    allow_eviction: bool,
    /// Sets the file with the certificates that sign the server's, in PEM. Defaults to those of the
    /// system.
    tls_ca: impl Into<PathBuf> => into_path,
    /// Sets the file with our own certificate, in PEM, for servers that ask for one; with
    /// [`tls_key`](Self::tls_key).
    tls_cert: impl Into<PathBuf> => into_path,
    /// Sets the file with the key of our own certificate, in PEM.
    tls_key: impl Into<PathBuf> => into_path,
}

impl DeduplicationConfigBuilder {
    /// Sets where marks are kept; another name for [`store`](Self::store).
    pub fn redis_url(self, url: impl Into<String>) -> Self {
        self.store(url)
    }

    /// Sets how long an event is remembered; `None` is until it is cleared. Defaults to an hour.
    pub fn window(mut self, window: impl Into<Option<Duration>>) -> Self {
        self.window = window.into().map_or(Limit::Forever, Limit::For);
        self
    }

    /// Sets how long an event is remembered; another name for [`window`](Self::window).
    pub fn default_ttl(self, window: impl Into<Option<Duration>>) -> Self {
        self.window(window)
    }

    /// Sets how often, and after which waits, an operation is tried again. Defaults to 3 times after
    /// 100 ms, doubling up to 5 s, and a random part. A number is enough.
    pub fn retries(mut self, retries: impl Into<Retries>) -> Self {
        self.retries = retries.into();
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// One of them makes no sense; the error says which, and why.
    pub fn build(self) -> Result<DeduplicationConfig, InvalidConfig> {
        let fail = |text: String| Err(InvalidConfig(text));
        let window = self.event_window()?;
        let name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.namespace.is_empty()
            || self.namespace.len() > 64
            || !self.namespace.chars().all(name)
        {
            return fail(format!(
                "the namespace {:?} is not 1 to 64 letters, digits, `-`, `_` or `.`",
                self.namespace
            ));
        }
        if self.key_prefix.len() > 64 || self.key_prefix.contains(['{', '}', ' ', '\n']) {
            return fail(format!(
                "the key prefix {:?} is longer than 64 bytes or has a brace or a space in it",
                self.key_prefix
            ));
        }
        if !(MIN_LEASE..=MAX_LEASE).contains(&self.lease) {
            return fail(format!("a lease of {:?} is not between 10 ms and 12 hours", self.lease));
        }
        for (name, timeout) in [
            ("connect_timeout", self.connect_timeout),
            ("read_timeout", self.read_timeout),
            ("write_timeout", self.write_timeout),
        ] {
            if timeout.is_zero() || timeout > MAX_TIMEOUT {
                return fail(format!("{name} of {timeout:?} is not between 0 and an hour"));
            }
        }
        self.retries.check().map_err(InvalidConfig)?;
        if !(1..=64).contains(&self.connections) {
            return fail(format!("{} connections are not 1 to 64", self.connections));
        }
        if let Some(size) = self.pipeline_batch_size
            && !(1..=MAX_BATCH).contains(&size)
        {
            return fail(format!(
                "a pipeline_batch_size of {size} is not 1 to {MAX_BATCH}; a longer request would \
                 hold the server up. Batches of any length are cut into requests of this size"
            ));
        }
        if !(1..=MAX_COALESCED).contains(&self.coalesce_limit) {
            return fail(format!(
                "a coalesce_limit of {} is not 1 to {MAX_COALESCED}",
                self.coalesce_limit
            ));
        }
        if self.max_id_bytes == 0 || self.max_id_bytes > MAX_ID {
            return fail(format!("max_id_bytes of {} is not 1 to 16 MiB", self.max_id_bytes));
        }
        if !(1..=64).contains(&self.max_windows) {
            return fail(format!("max_windows of {} is not 1 to 64", self.max_windows));
        }
        if let Some(shards) = self.shards
            && !(1..=1024).contains(&shards)
        {
            return fail(format!("{shards} shards are not 1 to 1024"));
        }
        if self.local_cache > 0 && window.is_sliding() {
            return fail(
                "a local cache answers without the server, which then cannot prolong a sliding \
                 window: leave one of them out"
                    .to_owned(),
            );
        }
        if self.local_cache > 0 && self.local_ttl.is_zero() {
            return fail("a local_ttl of 0 keeps nothing in the local cache".to_owned());
        }
        if self.local_ttl > MAX_PAUSE {
            return fail(format!("a local_ttl of {:?} is longer than a day", self.local_ttl));
        }
        if self.breaker_failures > 0 && self.breaker_pause.is_zero() {
            return fail("a breaker_pause of 0 would open the breaker for no time".to_owned());
        }
        if self.breaker_pause > MAX_PAUSE {
            return fail(format!(
                "a breaker_pause of {:?} is longer than a day",
                self.breaker_pause
            ));
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return fail("tls_cert and tls_key belong together".to_owned());
        }
        Ok(DeduplicationConfig(self))
    }

    fn event_window(&self) -> Result<EventWindow, InvalidConfig> {
        let invalid = |error: super::InvalidEventWindow| InvalidConfig(error.to_string());
        let window = match self.window {
            Limit::Forever if self.slot.is_some() => {
                return Err(InvalidConfig("a window without an end has no slot".to_owned()));
            }
            Limit::Forever => EventWindow::forever(),
            Limit::For(length) => {
                let window = EventWindow::new(length).map_err(invalid)?;
                match self.slot {
                    Some(slot) => window.with_slot(slot).map_err(invalid)?,
                    None => window,
                }
            }
        };
        Ok(window.sliding(self.sliding))
    }
}

impl DeduplicationConfigBuilder {
    pub(super) fn get(&self) -> Settings<'_> {
        Settings(self)
    }
}

/// The checked values, for the rest of the room.
#[derive(Clone, Copy)]
pub(super) struct Settings<'a>(&'a DeduplicationConfigBuilder);

macro_rules! getters {
    ($($name:ident: $type:ty,)*) => {
        #[cfg_attr(not(feature = "redis"), allow(dead_code))]
        impl<'a> Settings<'a> {$(
            pub(super) fn $name(self) -> $type {
                self.0.$name.clone()
            }
        )*}
    };
}

getters! {
    key_prefix: String,
    connect_timeout: Duration,
    read_timeout: Duration,
    write_timeout: Duration,
    connections: usize,
    retries: Retries,
    pipeline_batch_size: Option<usize>,
    coalesce_limit: usize,
    compress_event_ids: bool,
    max_id_bytes: usize,
    max_windows: usize,
    expected_events: u64,
    shards: Option<u16>,
    local_cache: usize,
    local_ttl: Duration,
    breaker_failures: u32,
    breaker_pause: Duration,
    allow_eviction: bool,
    tls_ca: Option<PathBuf>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
}

impl Default for DeduplicationConfigBuilder {
    fn default() -> Self {
        Self {
            store: "memory".to_owned(),
            namespace: "default".to_owned(),
            key_prefix: "ti:e:".to_owned(),
            window: Limit::For(Duration::from_secs(3600)),
            slot: None,
            sliding: false,
            lease: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(2),
            write_timeout: Duration::from_secs(2),
            connections: 1,
            retries: Retries::default(),
            pipeline_batch_size: None,
            coalesce_limit: 1000,
            compress_event_ids: true,
            max_id_bytes: 64 * 1024,
            max_windows: 8,
            expected_events: 0,
            shards: None,
            local_cache: 0,
            local_ttl: Duration::from_secs(30),
            failure_policy: FailurePolicy::Closed,
            breaker_failures: 5,
            breaker_pause: Duration::from_secs(5),
            allow_eviction: false,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
        }
    }
}

impl fmt::Debug for DeduplicationConfigBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeduplicationConfig")
            .field("store", &without_password(&self.store))
            .field("namespace", &self.namespace)
            .field("window", &self.window)
            .field("failure_policy", &self.failure_policy)
            .finish_non_exhaustive()
    }
}

/// A URL as it may be shown.
pub(super) fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let scheme = if rest.len() == url.len() { "" } else { &url[..scheme.len() + 3] };
    let (hidden, place) = match rest.rsplit_once('@') {
        Some((_, place)) => ("…@", place),
        None => ("", rest),
    };
    // Sockets and PostgreSQL take a password among the parameters.
    match place.split_once('?') {
        Some((place, _)) => format!("{scheme}{hidden}{place}?…"),
        None => format!("{scheme}{hidden}{place}"),
    }
}

fn into_path(path: impl Into<PathBuf>) -> Option<PathBuf> {
    Some(path.into())
}

/// The value of a variable, as TOML would have it: a number, a truth, or a text.
fn plain(name: &str, value: &str) -> toml::Value {
    // Texts that may look like numbers.
    let text = matches!(name, "store" | "redis_url" | "namespace" | "key_prefix");
    if text {
        value.into()
    } else if let Ok(number) = value.parse::<i64>() {
        number.into()
    } else if let Ok(truth) = value.parse::<bool>() {
        truth.into()
    } else {
        value.into()
    }
}

fn duration<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    crate::retry::time(from)
}

fn time<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    duration(from).map(Some)
}

fn limit<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Limit, D::Error> {
    let text = String::deserialize(from)?;
    if text == "none" {
        return Ok(Limit::Forever);
    }
    crate::retry::time(serde::de::value::StringDeserializer::new(text)).map(Limit::For)
}

/// A setting that makes no sense, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidConfig(pub(super) String);

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for InvalidConfig {}

const VARIABLES: &str = "TOWER_INBOX_EVENTS_";
const MIN_LEASE: Duration = Duration::from_millis(10);
// The key that holds the claims of a shard lives twice as long after the last of them.
const MAX_LEASE: Duration = Duration::from_secs(12 * 60 * 60);
const MAX_TIMEOUT: Duration = Duration::from_secs(60 * 60);
// Far from where adding it to a time overflows.
const MAX_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);
// Lua passes at most 8 000 values to a command, and a request holds the server up.
const MAX_BATCH: usize = 2_000;
const MAX_COALESCED: usize = 100_000;
const MAX_ID: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_configuring_gives_the_same() {
        let by_hand = DeduplicationConfig::builder()
            .store("redis://user:word@host/1")
            .namespace("7")
            .window(None)
            .lease(Duration::from_secs(5))
            .retries(Retries::new(2).base(Duration::from_millis(20)))
            .pipeline_batch_size(50)
            .failure_policy(FailurePolicy::Open)
            .sliding(true)
            .tls_ca("/ca.pem")
            .build()
            .unwrap();
        let by_file = DeduplicationConfig::from_toml(
            r#"
            redis_url = "redis://user:word@host/1"
            namespace = "7"
            default_ttl = "none"
            lease = "5s"
            pipeline_batch_size = 50
            failure_policy = "open"
            sliding = true
            tls_ca = "/ca.pem"
            [retries]
            max = 2
            base = "20ms"
            "#,
        )
        .unwrap();
        let by_environment = DeduplicationConfig::from_variables([
            ("store", "redis://user:word@host/1"),
            ("namespace", "7"),
            ("window", "none"),
            ("lease", "5s"),
            ("pipeline_batch_size", "50"),
            ("failure_policy", "open"),
            ("sliding", "true"),
            ("tls_ca", "/ca.pem"),
            ("retries_max", "2"),
            ("retries_base", "20ms"),
        ])
        .unwrap();
        assert_eq!(by_hand, by_file);
        assert_eq!(by_hand, by_environment);
        assert!(!format!("{by_hand:?}").contains("word"));
    }

    #[test]
    fn a_number_is_enough_for_retries() {
        let five = DeduplicationConfig::builder().retries(5).build().unwrap();
        assert_eq!(DeduplicationConfig::from_toml("retries = 5").unwrap(), five);
        assert_eq!(DeduplicationConfig::from_variables([("retries", "5")]).unwrap(), five);
        for wrong in ["retries = -1", "retries = \"many\"", "retries.most = 5"] {
            assert!(DeduplicationConfig::from_toml(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn values_that_make_no_sense_are_refused_with_a_reason() {
        let builder = DeduplicationConfig::builder;
        let second = Duration::from_secs(1);
        for (wrong, reason) in [
            (builder().namespace("a b"), "namespace"),
            (builder().key_prefix("a{"), "brace"),
            (builder().window(Duration::from_millis(1)), "100 milliseconds"),
            (builder().window(second).slot(second * 2), "shorter than a slot"),
            (builder().window(None).slot(second), "no slot"),
            (builder().lease(Duration::ZERO), "lease"),
            (builder().read_timeout(Duration::ZERO), "read_timeout"),
            (builder().retries(Retries::new(1).base(second * 9)), "retry"),
            (builder().connections(0), "connections"),
            (builder().pipeline_batch_size(0), "pipeline_batch_size"),
            (builder().pipeline_batch_size(1_000_000), "hold the server up"),
            (builder().coalesce_limit(0), "coalesce_limit"),
            (builder().max_id_bytes(0), "max_id_bytes"),
            (builder().max_windows(0), "max_windows"),
            (builder().shards(0), "shards"),
            (builder().local_cache(1).sliding(true), "sliding"),
            (builder().local_cache(1).local_ttl(Duration::ZERO), "local_ttl"),
            (builder().breaker_pause(Duration::ZERO), "breaker_pause"),
            (builder().breaker_pause(Duration::MAX), "breaker_pause"),
            (builder().local_ttl(Duration::MAX), "local_ttl"),
            (builder().retries(Retries::new(1).cap(Duration::MAX)), "retry"),
            (builder().tls_cert("a"), "belong together"),
        ] {
            let error = wrong.build().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_password_is_not_shown_wherever_it_stands() {
        for (url, shown) in [
            ("memory", "memory"),
            ("redis://host/1", "redis://host/1"),
            ("redis://user:word@host/1", "redis://…@host/1"),
            ("user:word@host", "…@host"),
            ("redis+unix:///socket?user=a&pass=word", "redis+unix:///socket?…"),
            ("postgres://host/db?password=word", "postgres://host/db?…"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    #[test]
    fn a_window_for_one_call_takes_the_slot_where_it_fits() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let config = DeduplicationConfig::builder().window(minute).slot(second).build().unwrap();
        assert_eq!(config.window_of(minute).unwrap(), config.window());
        assert_eq!(config.window_of(minute * 60).unwrap().slot(), minute * 15);
    }

    #[test]
    fn unknown_settings_are_refused() {
        let error = DeduplicationConfig::from_toml("windw = \"1h\"").unwrap_err().to_string();
        assert!(error.contains("windw"), "{error}");
        let error = DeduplicationConfig::from_variables([("windw", "1h")]).unwrap_err().to_string();
        assert!(error.contains("windw"), "{error}");
        let error = DeduplicationConfig::from_toml("window = \"soon\"").unwrap_err().to_string();
        assert!(error.contains("1h 30m"), "{error}");
    }

    #[test]
    fn an_error_says_where_it_is() {
        let error = DeduplicationConfig::from_toml("sliding = true\nwindow = 10").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
        for wrong in [("window", "10"), ("retries_max", "-1"), ("sliding", "yes")] {
            let variables = [("namespace", "a"), wrong, ("connections", "2")];
            let error = DeduplicationConfig::from_variables(variables).unwrap_err().to_string();
            assert!(error.contains(wrong.0), "{error}");
        }
    }
}
