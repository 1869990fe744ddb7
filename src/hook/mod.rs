//! What a delivery came to, and how other rooms join the inbox transaction.
//!
//! A [`CommitHook`] is how a payload store or a ledger writes in the very transaction that holds the
//! claim and the handler's own writes, without the inbox knowing about it. The trait is generic over
//! the connection, so this floor depends on no database.

use std::{pin::Pin, sync::Arc};

use crate::error::BoxError;

/// A boxed, sendable future; the return type of every dyn-compatible trait in this crate.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What one delivery of a message came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Decision {
    /// The handler ran, and what it did is committed (or its lease completed).
    Handled,
    /// An earlier delivery was handled within the window; the handler did not run.
    Duplicate,
    /// Another delivery of the same message is being worked on; the handler did not run.
    InFlight,
    /// The key was handled within the window with a message that says something else; the handler
    /// did not run.
    KeyReused,
    /// The message failed too often and is kept among the dead letters; it needs no further
    /// delivery. Reported for its redeliveries, too.
    DeadLettered,
    /// The message has no key and the layer refuses such messages; the handler did not run.
    Rejected,
    /// The message has no key and the handler ran without a claim.
    PassedThrough,
    /// The handler, or the store, failed; nothing took effect inside the transaction.
    Failed,
    /// The handler succeeded, but whether its work stands is not known: the connection broke during
    /// the commit, or the lease had run out. A redelivery decides. Release nothing for it.
    Unknown,
}

impl Decision {
    /// The decision in one word, as metrics and spans carry it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Handled => "handled",
            Self::Duplicate => "duplicate",
            Self::InFlight => "in_flight",
            Self::KeyReused => "key_reused",
            Self::DeadLettered => "dead_lettered",
            Self::Rejected => "rejected",
            Self::PassedThrough => "passed_through",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// Names one delivery to a hook.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Delivery {
    /// The consumer the layer was made for.
    pub consumer: Arc<str>,
    /// The sixteen bytes of the inbox key; `None` for a message without one.
    pub key: Option<[u8; 16]>,
}

impl Delivery {
    /// Names a delivery; the layer does this, and tests of hooks.
    pub fn new(consumer: Arc<str>, key: Option<[u8; 16]>) -> Self {
        Self { consumer, key }
    }
}

/// Takes part in the transaction of a delivery and learns what became of it.
///
/// # Contract
///
/// For a message whose handler succeeded in transactional mode, `before_commit` runs once, after
/// the handler and inside its transaction; an error rolls everything back and becomes the error of
/// the call. `decided` runs after every delivery whose future was not dropped, once the decision
/// stands: after the commit, after the rollback, or after a duplicate was recognised.
///
/// `decided` is *at least once per message, and may be missing for one delivery*: the process can
/// die between the commit and `decided`. The redelivery then arrives as [`Decision::Duplicate`], so
/// whatever is released on `Handled` must be released on `Duplicate` too, and idempotently.
///
/// # Cancellation
///
/// If the call's future is dropped during `before_commit`, the transaction is rolled back.
pub trait CommitHook<C>: Send + Sync {
    /// Writes inside the transaction, just before it commits.
    fn before_commit<'a>(
        &'a self,
        delivery: &'a Delivery,
        connection: &'a mut C,
    ) -> BoxFuture<'a, Result<(), BoxError>>;

    /// Learns the decision once it stands. It can no longer be changed, so there is no error.
    fn decided<'a>(&'a self, delivery: &'a Delivery, decision: Decision) -> BoxFuture<'a, ()>;
}

impl<C, H: CommitHook<C> + ?Sized> CommitHook<C> for Arc<H> {
    fn before_commit<'a>(
        &'a self,
        delivery: &'a Delivery,
        connection: &'a mut C,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        (**self).before_commit(delivery, connection)
    }

    fn decided<'a>(&'a self, delivery: &'a Delivery, decision: Decision) -> BoxFuture<'a, ()> {
        (**self).decided(delivery, decision)
    }
}

const _: fn(&dyn CommitHook<()>) = |_| {};
