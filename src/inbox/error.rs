use std::{error::Error, fmt};

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
