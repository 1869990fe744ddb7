use std::{error::Error, fmt, sync::Arc, time::Duration};

use crate::error::BoxError;

/// What an [`EventDeduplicator`](super::EventDeduplicator) could not do.
///
/// Names the backend, the operation and how often it was tried; decide by [`kind`](Self::kind), and
/// print the chain of sources for people.
#[derive(Debug, Clone)]
pub struct EventsError {
    kind: EventsErrorKind,
    backend: &'static str,
    operation: &'static str,
    attempts: u32,
    /// Shared, because one failure may be the answer to many calls.
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl EventsError {
    pub(super) fn new(
        kind: EventsErrorKind,
        backend: &'static str,
        operation: &'static str,
        attempts: u32,
    ) -> Self {
        Self { kind, backend, operation, attempts, source: None }
    }

    pub(super) fn because(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    /// The kind, for decisions.
    pub const fn kind(&self) -> EventsErrorKind {
        self.kind
    }

    /// The backend that was asked: `redis`, `memory`, `postgres` or what a stranger's calls itself.
    pub const fn backend(&self) -> &'static str {
        self.backend
    }

    /// What was asked of it.
    pub const fn operation(&self) -> &'static str {
        self.operation
    }

    /// How often it was tried; 0 where it was not.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }
}

impl fmt::Display for EventsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, backend, operation, attempts, .. } = self;
        write!(f, "{backend} {operation}: {kind}")?;
        match attempts {
            0 | 1 => Ok(()),
            attempts => write!(f, " (tried {attempts} times)"),
        }
    }
}

impl Error for EventsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// Why an operation on events failed, as far as a caller can act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventsErrorKind {
    /// The configuration makes no sense, or does not fit what is stored. Nothing was asked.
    Config,
    /// An event has no usable id. Nothing was asked.
    BadId,
    /// The server could not be reached. Nothing happened.
    Unreachable,
    /// The server did not answer in time, or the connection broke after the request had left: whether
    /// it took effect is not known. Operations that may be repeated have been.
    OutcomeUnknown,
    /// The server answers that it is loading, failing over or resharding. Nothing happened.
    Busy,
    /// The circuit breaker is open after many failures. Nothing was asked.
    CircuitOpen,
    /// The server refuses to write because its memory or its disk is full. Nothing was recorded.
    Full,
    /// The server refuses us: credentials, permissions, or a policy under which it would forget.
    Refused,
    /// There are already as many distinct windows as the configuration allows.
    TooManyWindows,
    /// The tables are not there, or of another version. Migrate.
    NotMigrated,
    /// The claim is no longer ours: its lease ran out and somebody else has the event.
    LeaseLost,
    /// Anything else; the source says what.
    Other,
}

impl EventsErrorKind {
    /// The kind in one word, as metrics carry it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::BadId => "bad_id",
            Self::Unreachable => "unreachable",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Busy => "busy",
            Self::CircuitOpen => "circuit_open",
            Self::Full => "full",
            Self::Refused => "refused",
            Self::TooManyWindows => "too_many_windows",
            Self::NotMigrated => "not_migrated",
            Self::LeaseLost => "lease_lost",
            Self::Other => "other",
        }
    }

    /// Whether waiting may help.
    pub(super) const fn is_passing(self) -> bool {
        matches!(self, Self::Unreachable | Self::OutcomeUnknown | Self::Busy)
    }

    /// Whether the backend is to blame, so that the failure policy and the breaker are asked.
    pub(super) const fn is_outage(self) -> bool {
        self.is_passing() || matches!(self, Self::CircuitOpen | Self::Full | Self::Other)
    }
}

impl fmt::Display for EventsErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "the configuration is not valid",
            Self::BadId => "an event has no usable id",
            Self::Unreachable => "the server could not be reached",
            Self::OutcomeUnknown => "no answer, so whether it took effect is not known",
            Self::Busy => "the server is busy with itself",
            Self::CircuitOpen => "the circuit breaker is open after too many failures",
            Self::Full => "the server is full and takes nothing more",
            Self::Refused => "the server was refused, or refuses",
            Self::TooManyWindows => "there are too many distinct windows",
            Self::NotMigrated => "the tables do not fit, migrate them",
            Self::LeaseLost => "the lease had run out and somebody else has the event",
            Self::Other => "failed",
        })
    }
}

/// Another process has claimed the event and is handling it, or died while it did.
///
/// Not a duplicate: do not acknowledge the message, let it be delivered again. After `retry_after` at
/// the latest the claim has been confirmed, or has run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventInFlight {
    /// The longest that the claim can last, which is the lease that the layer itself takes.
    pub retry_after: Duration,
}

impl EventInFlight {
    pub(super) const fn new(retry_after: Duration) -> Self {
        Self { retry_after }
    }
}

impl fmt::Display for EventInFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the event is being handled by somebody else")
    }
}

impl Error for EventInFlight {}
