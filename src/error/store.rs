use std::{error::Error, fmt, sync::Arc};

use crate::error::BoxError;

/// What a store could not do.
///
/// Opaque on purpose: decide by [`kind`](Self::kind), print the chain of
/// [`source`](std::error::Error::source)s for people.
#[derive(Debug, Clone)]
pub struct StoreError {
    kind: StoreErrorKind,
    context: String,
    /// Shared, because one failure may be the answer to a whole batch.
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// Makes an error of a kind, saying what was being done.
    ///
    /// `context` is lower case, without a full stop, and does not repeat its source's text.
    pub fn new(kind: StoreErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    /// Attaches the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    /// The refusal of a consumer whose keys would change, worded once for all stores.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn key_changed(consumer: &str) -> Self {
        Self::new(
            StoreErrorKind::KeyChanged,
            format!(
                "the consumer {consumer:?} is registered with keys made in another way (hash \
                 function, layout or secret), so its redeliveries would not be recognised: restore \
                 that, or use a new consumer name"
            ),
        )
    }

    /// The answer about a consumer that nobody has registered, worded once for all stores.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn unknown_consumer(consumer: &str) -> Self {
        Self::new(
            StoreErrorKind::UnknownConsumer,
            format!("there is no consumer {consumer:?}: it is registered by its first delivery"),
        )
    }

    /// The kind, for decisions.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// Why a store failed, as far as a caller can act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The database could not be reached, or the connection broke. Whether a commit that was under
    /// way took effect is unknown; a redelivery finds out.
    Unreachable,
    /// Others held the database for too long (SQLite's single writer, a lock, a serialization
    /// failure). Nothing happened; trying again is right.
    Busy,
    /// The tables of this library are not there. Run `tower-inbox migrate` or the store's
    /// `schema().up()`.
    NotMigrated,
    /// The tables are older than this library needs. Migrate them.
    SchemaTooOld,
    /// The tables were made by a newer release. Update the library; never migrate down for this.
    SchemaTooNew,
    /// The database or its file may not be written.
    ReadOnly,
    /// The disk is full. Nothing was recorded.
    Full,
    /// The consumer is registered with keys that this configuration does not reproduce: another
    /// encoding, hash function, layout or secret. See
    /// [`InboxLayer::hasher`](crate::inbox::InboxLayer::hasher).
    KeyChanged,
    /// There is no consumer of this name. It is registered by its first delivery.
    UnknownConsumer,
    /// The transaction was no longer usable at its commit: a statement in it had failed, or it had
    /// ended before. What it had not committed itself was rolled back.
    Aborted,
    /// Anything else; the source says what.
    Other,
}
