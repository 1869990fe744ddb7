//! Where marks and claims are kept: the contract, and what keeps it.

mod memory;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;

use std::{collections::BTreeMap, error::Error, fmt, sync::Arc, time::Duration};

pub use memory::MemoryBackend;
#[cfg(feature = "postgres")]
pub use postgres::PgBackend;
#[cfg(feature = "redis")]
pub use redis::RedisBackend;

use super::{ClaimToken, EventIds, EventWindow, EventsErrorKind};
use crate::{error::BoxError, hook::BoxFuture};

/// Keeps which events were seen, and which are being handled.
///
/// # Contract
///
/// Every operation takes the ids of a batch and answers for each of them, in order. Ids inside a batch
/// that are equal are seen as if they came one after the other. An operation is atomic for each id; a
/// batch need not be.
///
/// An id is *seen* from the moment it is marked, or its claim confirmed, for at least the window that
/// was given then, and for less than the window and a slot, by one clock that all processes share. It
/// is *claimed* from the moment it is claimed until it is confirmed or released, or until the lease has
/// run out. [`look`](Self::look) and [`mark`](Self::mark) take no notice of claims.
///
/// Everything but `mark` may be repeated with the same arguments and gives an answer that is right.
///
/// # Cancellation
///
/// A future that is dropped may or may not have taken effect, all of it or a part.
pub trait EventBackend: Send + Sync + fmt::Debug {
    /// The name for errors, spans and metrics.
    fn name(&self) -> &'static str;

    /// Which ids have been seen.
    fn look<'a>(&'a self, ids: &'a EventIds) -> BoxFuture<'a, Result<Vec<bool>, BackendError>>;

    /// Marks ids as seen, and tells which were new. A fixed window is not prolonged by a duplicate, a
    /// sliding one is.
    fn mark<'a>(
        &'a self,
        ids: &'a EventIds,
        window: &'a EventWindow,
    ) -> BoxFuture<'a, Result<Vec<bool>, BackendError>>;

    /// Claims ids, each under its token, for as long as the lease. An id that is claimed under the same
    /// token already is claimed once more: the first answer was lost.
    fn claim<'a>(
        &'a self,
        ids: &'a EventIds,
        tokens: &'a [ClaimToken],
        lease: Duration,
    ) -> BoxFuture<'a, Result<Vec<ClaimAnswer>, BackendError>>;

    /// Marks claimed ids as seen and gives the claims up. False for an id that somebody else has
    /// claimed meanwhile, of which nothing is changed.
    ///
    /// A claim that has run out and that nobody took over is confirmed: the event was handled.
    fn confirm<'a>(
        &'a self,
        ids: &'a EventIds,
        tokens: &'a [ClaimToken],
        window: &'a EventWindow,
    ) -> BoxFuture<'a, Result<Vec<bool>, BackendError>>;

    /// Gives claims up, so that the next one to claim gets the event at once. False where there was
    /// none under the token.
    fn release<'a>(
        &'a self,
        ids: &'a EventIds,
        tokens: &'a [ClaimToken],
    ) -> BoxFuture<'a, Result<Vec<bool>, BackendError>>;

    /// Forgets everything in the namespace, without holding others up.
    fn clear(&self) -> BoxFuture<'_, Result<(), BackendError>>;

    /// Looks whether the promises can be kept.
    fn health(&self) -> BoxFuture<'_, Result<Health, BackendError>>;

    /// Bytes that went to the server and came from it since the start.
    fn traffic(&self) -> Traffic;
}

macro_rules! forward {
    ($pointer:ident) => {
        impl<B: EventBackend + ?Sized> EventBackend for $pointer<B> {
            fn name(&self) -> &'static str {
                (**self).name()
            }

            fn look<'a>(
                &'a self,
                ids: &'a EventIds,
            ) -> BoxFuture<'a, Result<Vec<bool>, BackendError>> {
                (**self).look(ids)
            }

            fn mark<'a>(
                &'a self,
                ids: &'a EventIds,
                window: &'a EventWindow,
            ) -> BoxFuture<'a, Result<Vec<bool>, BackendError>> {
                (**self).mark(ids, window)
            }

            fn claim<'a>(
                &'a self,
                ids: &'a EventIds,
                tokens: &'a [ClaimToken],
                lease: Duration,
            ) -> BoxFuture<'a, Result<Vec<ClaimAnswer>, BackendError>> {
                (**self).claim(ids, tokens, lease)
            }

            fn confirm<'a>(
                &'a self,
                ids: &'a EventIds,
                tokens: &'a [ClaimToken],
                window: &'a EventWindow,
            ) -> BoxFuture<'a, Result<Vec<bool>, BackendError>> {
                (**self).confirm(ids, tokens, window)
            }

            fn release<'a>(
                &'a self,
                ids: &'a EventIds,
                tokens: &'a [ClaimToken],
            ) -> BoxFuture<'a, Result<Vec<bool>, BackendError>> {
                (**self).release(ids, tokens)
            }

            fn clear(&self) -> BoxFuture<'_, Result<(), BackendError>> {
                (**self).clear()
            }

            fn health(&self) -> BoxFuture<'_, Result<Health, BackendError>> {
                (**self).health()
            }

            fn traffic(&self) -> Traffic {
                (**self).traffic()
            }
        }
    };
}

forward!(Arc);
forward!(Box);

const _: fn(&dyn EventBackend) = |_| {};

/// What a claim came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "there is no fourth way")]
pub enum ClaimAnswer {
    /// The event is the caller's.
    Claimed,
    /// It was seen.
    Seen,
    /// Somebody else has claimed it.
    InFlight,
}

/// Bytes, as far as the backend knows them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// To the server.
    pub written: u64,
    /// From the server.
    pub read: u64,
}

impl Traffic {
    /// Both counts.
    pub const fn new(written: u64, read: u64) -> Self {
        Self { written, read }
    }
}

/// What a backend found when it looked at itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// How long a round trip took.
    pub ping: Duration,
    /// What is wrong, and what to do about it; empty when all is well.
    pub problems: Vec<String>,
    /// What is known of the server, by name.
    pub facts: BTreeMap<String, String>,
}

impl Health {
    /// A healthy one.
    pub fn new(ping: Duration) -> Self {
        Self { ping, ..Self::default() }
    }

    /// Whether nothing is wrong.
    pub fn is_healthy(&self) -> bool {
        self.problems.is_empty()
    }
}

/// What a backend could not do.
#[derive(Debug, Clone)]
pub struct BackendError {
    kind: EventsErrorKind,
    source: Arc<dyn Error + Send + Sync>,
}

impl BackendError {
    /// An error of a kind, and what caused it.
    pub fn new(kind: EventsErrorKind, source: impl Into<BoxError>) -> Self {
        Self { kind, source: source.into().into() }
    }

    /// The kind, for decisions.
    pub const fn kind(&self) -> EventsErrorKind {
        self.kind
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl Error for BackendError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}
