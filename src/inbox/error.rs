use std::{error::Error, fmt};

use super::store::Attempts;
use crate::error::BoxError;

/// Another delivery of this message is being worked on.
///
/// Not a duplicate: the other worker may still fail. Do not acknowledge the message; let the broker
/// deliver it again after a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct InFlight {}

impl InFlight {
    /// Makes the error; for stores and tests.
    pub const fn new() -> Self {
        Self {}
    }
}

impl fmt::Display for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the message is in flight: another delivery of it is being handled")
    }
}

impl Error for InFlight {}

/// The message has nothing to recognise it by: every chosen field is none.
///
/// See [`InboxLayer::without_key`](super::InboxLayer::without_key).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct KeyAbsent {}

impl KeyAbsent {
    pub(crate) const fn new() -> Self {
        Self {}
    }
}

impl fmt::Display for KeyAbsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the message has no inbox key: every chosen field is none")
    }
}

impl Error for KeyAbsent {}

/// The handler succeeded, but its lease had run out and the message may be somebody else's by now.
///
/// Its effects stand, and the message will be, or is being, handled again. Take a longer lease, or
/// [`extend`](super::Lease::extend) it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LeaseLost {}

impl LeaseLost {
    pub(crate) const fn new() -> Self {
        Self {}
    }
}

impl fmt::Display for LeaseLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the lease had run out before the message was completed")
    }
}

impl Error for LeaseLost {}

/// The handler returned success while something still held its transaction.
///
/// Nothing is committed: the transaction is rolled back when the holder lets go of it. Usually a
/// task was spawned with it, or it was kept in a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TransactionNotReturned {}

impl TransactionNotReturned {
    pub(crate) const fn new() -> Self {
        Self {}
    }
}

impl fmt::Display for TransactionNotReturned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the handler finished without dropping its transaction; nothing was committed")
    }
}

impl Error for TransactionNotReturned {}

/// The message failed too often and is among the dead letters now.
///
/// Acknowledge it: the database keeps it, redeliveries are answered with this error, and
/// `tower-inbox dead requeue` lets it through again. See
/// [`InboxLayer::dead_letters`](super::InboxLayer::dead_letters).
#[derive(Debug)]
#[non_exhaustive]
pub struct DeadLettered {
    /// How often it was tried.
    pub attempts: Attempts,
    source: Option<BoxError>,
}

impl DeadLettered {
    pub(crate) fn new(attempts: Attempts, source: Option<BoxError>) -> Self {
        Self { attempts, source }
    }
}

impl fmt::Display for DeadLettered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the message failed too often ({}) and is a dead letter", self.attempts)
    }
}

impl Error for DeadLettered {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// The handler failed because of an inbox *further in*, whose message is a dead letter or reused a key.
///
/// That says nothing about the message of this inbox, which was rolled back and is to be delivered
/// again. It is wrapped so that it is not taken for this inbox's own [`DeadLettered`] or [`KeyReused`];
/// the source is the inner error.
#[derive(Debug)]
#[non_exhaustive]
pub struct InnerInboxFailed {
    source: BoxError,
}

impl fmt::Display for InnerInboxFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the handler failed with the error of another inbox")
    }
}

impl Error for InnerInboxFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

/// An error of the handler, such that the inbox's own verdicts can be told from it.
pub(super) fn from_handler(error: impl Into<BoxError>) -> BoxError {
    let error = error.into();
    if error.is::<DeadLettered>() || error.is::<KeyReused>() {
        InnerInboxFailed { source: error }.into()
    } else {
        error
    }
}

/// The key was handled before with a message that says something else.
///
/// Neither a duplicate nor new: the sender used one key for two things. Do not repeat it as it is;
/// see [`InboxLayer::fingerprint`](super::InboxLayer::fingerprint).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct KeyReused {}

impl KeyReused {
    pub(crate) const fn new() -> Self {
        Self {}
    }
}

impl fmt::Display for KeyReused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the inbox key was handled before with another message under it")
    }
}

impl Error for KeyReused {}

/// The handler's response is larger than what a layer keeps for replay; nothing was committed.
///
/// See [`ReplayLayer::oversized`](super::replay::ReplayLayer::oversized).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResponseTooLarge {
    /// The size of the encoded response in bytes.
    pub size: usize,
    /// The largest that is kept.
    pub limit: usize,
}

impl ResponseTooLarge {
    pub(crate) const fn new(size: usize, limit: usize) -> Self {
        Self { size, limit }
    }
}

impl fmt::Display for ResponseTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size, limit } = self;
        write!(
            f,
            "the response of {size} bytes is too large to be kept for replay, the limit is {limit}; \
             raise it with `max_response` or choose `Oversized::Forget`"
        )
    }
}

impl Error for ResponseTooLarge {}
