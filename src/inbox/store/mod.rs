//! The trait behind which databases do the work, and what goes in and out of it.

mod admin;
mod ages;
mod batch;
mod clock;
mod group;
mod poison;
#[cfg(feature = "postgres")]
pub mod postgres;
mod record;
mod redelivery;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod shelf;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sql_error;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sql_tx;
#[cfg(feature = "sqlite")]
pub mod sqlite;

use std::{fmt, sync::Arc, time::Duration};

use super::Window;
use crate::{
    error::StoreError,
    hook::BoxFuture,
    key::{InboxKey, Secret},
};

pub use admin::{
    AgeBucket, AgeHistogram, AuditEntry, AuditFilter, ClaimFilter, ClaimState, ClaimSummary,
    ConsumerSummary, DeadLetter, Discarded, Explanation, FailedAttempts, Forgotten, InboxAdmin,
    Intervention, KeyState, LeaseSummary, LetterFilter, LetterState, LetterSummary, Page, Paging,
    RecordSummary, Requeued, UnknownClaimState,
};
pub use ages::{AgeCount, DuplicateAges};
pub use batch::{BatchClaim, BatchClaimed, BatchStore, KeyClaimed};
#[cfg(feature = "testing")]
pub use clock::Clock;
#[cfg(all(not(feature = "testing"), any(feature = "postgres", feature = "sqlite")))]
use clock::Clock;
pub use group::GroupStore;
pub use poison::{Attempt, Attempts, Begun, Burial, Buried, Failure, PoisonStore};
pub use record::{Record, RecordStore};
pub use redelivery::{LetterId, RedeliveryStore, TakenLetter};

/// Claims messages in a database.
///
/// # Contract
///
/// The inbox calls [`meta`](Self::meta) and [`register`](Self::register) before anything else, then
/// [`claim`](Self::claim) once per delivery, or [`lease`](Self::lease) followed by
/// [`settle`](Self::settle). For one consumer and key, at any moment at most one transaction or one
/// lease holds the claim, whoever asks in whichever process; a committed claim is seen by all for at
/// least its window, by the database's clock.
///
/// # Cancellation
///
/// Every future may be dropped at any await. Then either nothing happened, or what happened is what
/// a crash would leave: an uncommitted claim disappears, a commit under way may have taken effect, a
/// lease runs out. No connection is ever left to others with a transaction open in it.
///
/// The module `testing::conformance` (feature `testing`) holds a store against this.
pub trait InboxStore: Send + Sync {
    /// The connection that a handler writes through.
    type Connection: Send + 'static;

    /// Checks the version of the tables and reads what all processes share.
    fn meta(&self) -> BoxFuture<'static, Result<StoreMeta, StoreError>>;

    /// Finds or makes the consumer. An existing one with another `probe` is refused with
    /// [`KeyChanged`](crate::error::StoreErrorKind::KeyChanged).
    fn register(
        &self,
        consumer: Arc<str>,
        window: Window,
        probe: InboxKey,
    ) -> BoxFuture<'static, Result<ConsumerId, StoreError>>;

    /// Opens a transaction and claims the message in it.
    fn claim(
        &self,
        claim: Claim,
    ) -> BoxFuture<'static, Result<Claimed<Self::Connection>, StoreError>>;

    /// Opens a transaction without a claim, for a message without a key.
    fn begin(&self) -> BoxFuture<'static, Result<BoxTx<Self::Connection>, StoreError>>;

    /// Claims the message for a limited time, in a transaction of its own.
    fn lease(&self, request: LeaseRequest) -> BoxFuture<'static, Result<LeaseClaimed, StoreError>>;

    /// Completes, releases or extends a lease. `false` means it was lost, and nothing was done.
    fn settle(&self, grant: Grant, deed: Deed) -> BoxFuture<'static, Result<bool, StoreError>>;

    /// Where to count the ages of duplicates; the same for all clones of a store. One that keeps no
    /// statistics gives out a new one that nobody reads.
    fn duplicate_ages(&self) -> DuplicateAges;
}

/// A transaction that is open, together with the connection it is open on.
///
/// Dropping it rolls it back, at the latest when the connection is used again.
pub trait OpenTx<C>: Send {
    /// The connection.
    fn connection(&self) -> &C;

    /// The connection, to write through.
    fn connection_mut(&mut self) -> &mut C;

    /// Commits. An error means that it did not commit, except for
    /// [`Unreachable`](crate::error::StoreErrorKind::Unreachable): then nobody knows.
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Rolls back now, instead of some time after a drop.
    fn rollback(self: Box<Self>) -> BoxFuture<'static, Result<(), StoreError>>;
}

/// A transaction that is open, of whatever store.
pub type BoxTx<C> = Box<dyn OpenTx<C>>;

/// What all processes that share a database share.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct StoreMeta {
    /// Keys the second half of inbox keys.
    pub secret: Secret,
}

impl StoreMeta {
    /// For stores of other crates.
    pub const fn new(secret: Secret) -> Self {
        Self { secret }
    }
}

/// A consumer's number in one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConsumerId(i16);

impl ConsumerId {
    /// Takes the number.
    pub const fn new(number: i16) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> i16 {
        self.0
    }
}

impl fmt::Display for ConsumerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A request for a claim inside a transaction.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Claim {
    /// For which consumer.
    pub consumer: ConsumerId,
    /// Which message.
    pub key: InboxKey,
    /// How long redeliveries shall be recognised.
    pub window: Window,
    /// How long to wait for another delivery of the same message to end. SQLite's single writer
    /// waits for its busy timeout instead.
    pub wait: Duration,
}

impl Claim {
    /// Asks for a claim.
    pub const fn new(consumer: ConsumerId, key: InboxKey, window: Window, wait: Duration) -> Self {
        Self { consumer, key, window, wait }
    }
}

/// The answer to a [`Claim`]; complete by nature.
pub enum Claimed<C> {
    /// The message is ours, in this transaction.
    Won(BoxTx<C>),
    /// It was handled within its window.
    Duplicate(Earlier),
    /// Another delivery is being handled.
    InFlight,
}

impl<C> fmt::Debug for Claimed<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Won(_) => f.write_str("Won(..)"),
            Self::Duplicate(earlier) => f.debug_tuple("Duplicate").field(earlier).finish(),
            Self::InFlight => f.write_str("InFlight"),
        }
    }
}

/// What a store knows of the handling that made a message a duplicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Earlier {
    /// How long ago it was, in whole seconds by the database's clock; `None` where nobody knows.
    ///
    /// Stores that keep only when a claim ends count back from there by the window that the consumer
    /// has now, so it is off by the difference for claims that were made with another window.
    pub age: Option<Duration>,
}

impl Earlier {
    /// Says how long ago.
    pub const fn ago(age: Duration) -> Self {
        Self { age: Some(age) }
    }

    /// Says nothing.
    pub const fn unknown() -> Self {
        Self { age: None }
    }
}

/// A request for a claim with a lease.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LeaseRequest {
    /// For which consumer.
    pub consumer: ConsumerId,
    /// Which message.
    pub key: InboxKey,
    /// For how long.
    pub lease: Window,
    /// Who asks, for people who look at the table.
    pub owner: Arc<str>,
}

impl LeaseRequest {
    /// Asks for a lease.
    pub const fn new(consumer: ConsumerId, key: InboxKey, lease: Window, owner: Arc<str>) -> Self {
        Self { consumer, key, lease, owner }
    }
}

/// The answer to a [`LeaseRequest`]; complete by nature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseClaimed {
    /// The message is ours until the lease runs out.
    Granted(Grant),
    /// It was handled within its window.
    Duplicate(Earlier),
    /// Another delivery is being handled.
    InFlight,
}

/// A lease that was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// For which consumer.
    pub consumer: ConsumerId,
    /// Which message.
    pub key: InboxKey,
    /// Larger than every token given out before.
    pub token: i64,
    /// How many times this message was leased without being completed, this one included.
    pub attempt: u32,
}

impl Grant {
    /// Grants a lease.
    pub const fn new(consumer: ConsumerId, key: InboxKey, token: i64, attempt: u32) -> Self {
        Self { consumer, key, token, attempt }
    }
}

/// What to do with a lease that is held; complete by nature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// The message is handled; recognise its redeliveries for a window.
    Complete(Window),
    /// The message is not handled; let the next delivery have it at once.
    Release,
    /// More time is needed, counted from now.
    Extend(Window),
}

/// Removes claims whose window is over; driven by a
/// [`Sweeper`](super::retention::Sweeper).
pub trait SweepStore: Send + Sync {
    /// Asks for the next round. `false`: another process began one less than `every` ago.
    fn begin_round(&self, every: Duration) -> BoxFuture<'static, Result<bool, StoreError>>;

    /// Removes one batch of what ended at least `retention` ago, in a short transaction of its own.
    /// A round begins with `None` and goes on with the cursor of the batch before.
    fn sweep(
        &self,
        cursor: Option<Cursor>,
        retention: Duration,
    ) -> BoxFuture<'static, Result<Swept, StoreError>>;

    /// Writes down the [ages of duplicates](InboxStore::duplicate_ages) that were counted since the
    /// last time. What could not be written is counted again; where nobody knows whether it was, it
    /// may be counted twice.
    fn write_ages(&self) -> BoxFuture<'static, Result<(), StoreError>>;
}

/// Where a round of sweeping has got to; only the store that made it can read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(Vec<u8>);

impl Cursor {
    /// Keeps whatever the store wants to find again.
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// What the store kept.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What one batch removed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swept {
    /// Rows removed.
    pub removed: u64,
    /// Where to go on; `None` at the end of the round.
    pub next: Option<Cursor>,
}

impl Swept {
    /// Reports a batch.
    pub const fn new(removed: u64, next: Option<Cursor>) -> Self {
        Self { removed, next }
    }
}

macro_rules! forward {
    ($($pointer:ident)*) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<St: InboxStore + ?Sized> InboxStore for $pointer<St> {
            type Connection = St::Connection;

            fn meta(&self) -> BoxFuture<'static, Result<StoreMeta, StoreError>> {
                (**self).meta()
            }

            fn register(
                &self,
                consumer: Arc<str>,
                window: Window,
                probe: InboxKey,
            ) -> BoxFuture<'static, Result<ConsumerId, StoreError>> {
                (**self).register(consumer, window, probe)
            }

            fn claim(
                &self,
                claim: Claim,
            ) -> BoxFuture<'static, Result<Claimed<Self::Connection>, StoreError>> {
                (**self).claim(claim)
            }

            fn begin(
                &self,
            ) -> BoxFuture<'static, Result<BoxTx<Self::Connection>, StoreError>> {
                (**self).begin()
            }

            fn lease(
                &self,
                request: LeaseRequest,
            ) -> BoxFuture<'static, Result<LeaseClaimed, StoreError>> {
                (**self).lease(request)
            }

            fn settle(
                &self,
                grant: Grant,
                deed: Deed,
            ) -> BoxFuture<'static, Result<bool, StoreError>> {
                (**self).settle(grant, deed)
            }

            fn duplicate_ages(&self) -> DuplicateAges {
                (**self).duplicate_ages()
            }
        }

        #[deny(clippy::missing_trait_methods)]
        impl<St: SweepStore + ?Sized> SweepStore for $pointer<St> {
            fn begin_round(&self, every: Duration) -> BoxFuture<'static, Result<bool, StoreError>> {
                (**self).begin_round(every)
            }

            fn sweep(
                &self,
                cursor: Option<Cursor>,
                retention: Duration,
            ) -> BoxFuture<'static, Result<Swept, StoreError>> {
                (**self).sweep(cursor, retention)
            }

            fn write_ages(&self) -> BoxFuture<'static, Result<(), StoreError>> {
                (**self).write_ages()
            }
        }
    )*};
}

forward!(Arc Box);

const _: fn(&dyn InboxStore<Connection = ()>) = |_| {};
const _: fn(&dyn SweepStore) = |_| {};
