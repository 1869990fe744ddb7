use tower_inbox::events::{DeduplicationConfig, EventDeduplicator, EventIdExtractor, EventsError};

use super::{failure::failure, settings::Settings};
use crate::{
    args::StoreArgs,
    database::Location,
    error::Failure,
    url::{feature_missing, without_secrets},
};

/// A store that is not asked yet.
pub(super) struct Store {
    /// Without secrets.
    pub(super) shown: String,
    pub(super) config: DeduplicationConfig,
}

impl Store {
    /// Puts the flags over the settings, and looks whether the store can be one.
    pub(super) fn new(args: StoreArgs, mut settings: Settings) -> Result<Self, Failure> {
        settings.put("store", args.store);
        settings.put("namespace", args.namespace);
        let exact = args.exact_ids.or(settings.take("exact-ids")?);
        settings.put("compress_event_ids", exact.map(|exact| !exact));
        let config = settings.build()?;
        let shown = without_secrets(config.store());
        usable(config.store(), &shown)?;
        Ok(Self { shown, config })
    }

    /// For a verb that looks at a store as it is, whatever is wrong with it. `file` is what the
    /// config file says.
    pub(super) fn to_look_at(args: StoreArgs, file: toml::Table) -> Result<Self, Failure> {
        let mut settings = Settings::new(file);
        // What only `check` wants to know.
        for name in ["id", "input", "max-line", "dead-letters", "at-most-once", "fail-open"] {
            settings.take::<toml::Value>(name)?;
        }
        // A server that evicts is what such a verb is asked to find.
        settings.put("allow_eviction", Some(true));
        settings.put("failure_policy", Some("closed"));
        Self::new(args, settings)
    }

    pub(super) async fn connect<T>(
        &self,
        extractor: EventIdExtractor<T>,
    ) -> Result<EventDeduplicator<T>, EventsError> {
        EventDeduplicator::new(self.config.clone(), extractor).await
    }

    /// Connects for a verb that has no events.
    pub(super) async fn look_at(&self) -> Result<EventDeduplicator<()>, EventsError> {
        self.connect(EventIdExtractor::hash(|()| 0)).await
    }

    pub(super) fn failure(&self, error: EventsError) -> Failure {
        failure(error, &self.shown)
    }

    /// Whether it ends with this process.
    pub(super) fn is_memory(&self) -> bool {
        self.config.store() == "memory"
    }
}

/// Refuses a store that this program was built without, or whose URL makes no sense, with what to do
/// about it.
fn usable(store: &str, shown: &str) -> Result<(), Failure> {
    let scheme = store.split("://").next().unwrap_or(store);
    let what = format!("--store {shown}");
    let is_redis = ["redis", "valkey", "unix"].iter().any(|name| scheme.starts_with(name));
    let has_tls = ["rediss", "valkeys"].iter().any(|name| scheme.starts_with(name));
    if is_redis && !cfg!(feature = "redis") {
        return Err(feature_missing(&what, "Redis", "redis"));
    }
    if has_tls && !cfg!(feature = "redis-tls") {
        return Err(feature_missing(&what, "TLS to Redis", "redis-tls"));
    }
    if matches!(scheme, "postgres" | "postgresql") {
        if !cfg!(feature = "postgres") {
            return Err(feature_missing(&what, "PostgreSQL", "postgres"));
        }
        // What the library would say of it may quote a part of the URL, and that may be the password.
        return match Location::parse(store) {
            Ok(_) => Ok(()),
            Err(failure) => Err(failure.retitled(format!("{what}: this URL cannot be read"))),
        };
    }
    Ok(())
}
