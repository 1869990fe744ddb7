use std::sync::Arc;

use super::{
    DeduplicationConfig, EventsError, EventsErrorKind,
    backend::{EventBackend, MemoryBackend},
    config::without_password,
};

/// Makes the backend that a configuration names, and looks whether it is there.
pub(super) async fn backend(
    config: &DeduplicationConfig,
) -> Result<Arc<dyn EventBackend>, EventsError> {
    let store = config.store();
    let scheme = store.split_once("://").map_or(store, |(scheme, _)| scheme);
    let fail = |kind, backend, reason: String| {
        Err(EventsError::new(kind, backend, "connect", 0).because(reason))
    };
    match scheme {
        "memory" => {
            let windows = config.settings().get().max_windows();
            Ok(Arc::new(MemoryBackend::new().max_windows(windows)))
        }
        #[cfg(feature = "redis")]
        scheme if is_redis(scheme) => redis(config).await,
        #[cfg(not(feature = "redis"))]
        scheme if is_redis(scheme) => {
            let reason = format!("{scheme}:// needs the feature `redis` of tower-inbox");
            fail(EventsErrorKind::Config, "redis", reason)
        }
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => postgres(config).await,
        #[cfg(not(feature = "postgres"))]
        "postgres" | "postgresql" => {
            let reason = format!("{scheme}:// needs the feature `postgres` of tower-inbox");
            fail(EventsErrorKind::Config, "postgres", reason)
        }
        _ => {
            let reason = format!(
                "{:?} is none of memory, redis://…, redis-cluster://…, redis-sentinel://… and \
                 postgres://…",
                without_password(store)
            );
            fail(EventsErrorKind::Config, "events", reason)
        }
    }
}

fn is_redis(scheme: &str) -> bool {
    ["redis", "rediss", "valkey", "unix"]
        .iter()
        .any(|known| scheme == *known || scheme.starts_with(&format!("{known}-")))
        || matches!(scheme, "redis+unix" | "valkeys" | "valkey+unix")
}

#[cfg(feature = "redis")]
async fn redis(config: &DeduplicationConfig) -> Result<Arc<dyn EventBackend>, EventsError> {
    use super::backend::RedisBackend;
    let backend = RedisBackend::new(config)?;
    let ready = backend.prepare().await;
    ready_or_open(config, backend.name(), ready)?;
    Ok(Arc::new(backend))
}

#[cfg(feature = "postgres")]
async fn postgres(config: &DeduplicationConfig) -> Result<Arc<dyn EventBackend>, EventsError> {
    use super::backend::PgBackend;
    let backend = PgBackend::connect(config)?;
    let ready = backend.prepare().await;
    ready_or_open(config, backend.name(), ready)?;
    Ok(Arc::new(backend))
}

/// With an open failure policy a store that is away is not an error yet.
#[cfg(any(feature = "redis", feature = "postgres"))]
fn ready_or_open(
    config: &DeduplicationConfig,
    backend: &'static str,
    ready: Result<(), super::backend::BackendError>,
) -> Result<(), EventsError> {
    match ready {
        Err(error)
            if config.failure_policy() == super::FailurePolicy::Open
                && error.kind().is_outage() =>
        {
            tracing::warn!(backend, %error, "not there; events pass without a check until it is");
            Ok(())
        }
        Err(error) => Err(EventsError::new(error.kind(), backend, "connect", 1).because(error)),
        Ok(()) => Ok(()),
    }
}
