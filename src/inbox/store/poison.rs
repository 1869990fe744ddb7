use std::{fmt, sync::Arc, time::Duration};

use super::{ConsumerId, Earlier, InboxStore};
use crate::{error::StoreError, hook::BoxFuture, inbox::Window, key::InboxKey};

/// Counts attempts at messages that fail, and keeps those that failed too often.
///
/// # Contract
///
/// For a layer with [`dead_letters`](crate::inbox::InboxLayer::dead_letters) the inbox calls
/// [`begin_attempt`](Self::begin_attempt) before the claim, where starts are counted, then one of:
/// [`forget_attempts`](Self::forget_attempts) in the transaction that commits,
/// [`fail_attempt`](Self::fail_attempt) after the rollback, or
/// [`withdraw_attempt`](Self::withdraw_attempt) if the handler did not run. A process that dies in
/// between leaves an attempt that was started and never finished, which is how a message that kills
/// its workers shows.
///
/// For messages that it handles together it calls [`begin_together`](Self::begin_together) before their
/// claims, and [`end_together`](Self::end_together) in the transaction that commits.
///
/// Counts are for deciding when to give up, and may be off by one for deliveries of one message that
/// overlap or a server that crashes.
///
/// # Cancellation
///
/// As for [`InboxStore`].
pub trait PoisonStore: InboxStore {
    /// Counts that an attempt begins, in a transaction of its own, if the message is free.
    fn begin_attempt(&self, attempt: Attempt) -> BoxFuture<'static, Result<Begun, StoreError>>;

    /// Takes back that an attempt began: the handler did not run, or failed for a reason that is not
    /// the message's.
    fn withdraw_attempt(
        &self,
        consumer: ConsumerId,
        key: InboxKey,
    ) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Counts that an attempt failed, in a transaction of its own; its start as well, if that was
    /// not counted.
    fn fail_attempt(&self, failure: Failure) -> BoxFuture<'static, Result<Attempts, StoreError>>;

    /// Removes what was counted, and a dead letter of it, inside the transaction that handled the
    /// message: a letter that was requeued ends with the commit that handles it, and not later.
    fn forget_attempts<'a>(
        &'a self,
        connection: &'a mut Self::Connection,
        consumer: ConsumerId,
        key: InboxKey,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The same in a transaction of its own, for a lease that was completed.
    fn drop_attempts(
        &self,
        consumer: ConsumerId,
        key: InboxKey,
    ) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Says which messages were tried before, and failed or did not come back, in the order of the
    /// keys: those are better handled by themselves. With `mark`, the others are marked in a
    /// transaction of its own, if they are free, so that they count as tried if nothing is heard of
    /// them again. A mark is no attempt: when many are handled together it is no single one's fault.
    fn begin_together(
        &self,
        consumer: ConsumerId,
        keys: Vec<InboxKey>,
        mark: bool,
    ) -> BoxFuture<'static, Result<Vec<bool>, StoreError>>;

    /// Removes the marks, and dead letters of the messages, inside the transaction that handled them.
    fn end_together<'a>(
        &'a self,
        connection: &'a mut Self::Connection,
        consumer: ConsumerId,
        keys: Vec<InboxKey>,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Puts the message among the dead letters, claims it for the window and removes what was
    /// counted, all or nothing. `false`: another delivery has handled it meanwhile or is at it, and
    /// nothing was done.
    fn bury(&self, burial: Burial) -> BoxFuture<'static, Result<bool, StoreError>>;

    /// Whether the claim of a message, which was seen a moment ago, is that of a dead letter.
    fn buried(
        &self,
        consumer: ConsumerId,
        key: InboxKey,
    ) -> BoxFuture<'static, Result<Buried, StoreError>>;
}

/// An attempt that wants to begin.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Attempt {
    /// Of which consumer.
    pub consumer: ConsumerId,
    /// At which message.
    pub key: InboxKey,
    /// How many starts are no reason to give up.
    pub limit: u32,
    /// How long after the last start one more than the limit is not counted yet: whoever began may
    /// still come to its claim.
    pub presumed_dead_after: Duration,
}

impl Attempt {
    /// Asks to begin.
    pub const fn new(
        consumer: ConsumerId,
        key: InboxKey,
        limit: u32,
        presumed_dead_after: Duration,
    ) -> Self {
        Self { consumer, key, limit, presumed_dead_after }
    }
}

/// The answer to [`PoisonStore::begin_attempt`]; complete by nature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// The attempt is counted; this is the count, with it.
    Counted(Attempts),
    /// The message was handled within its window. Nothing was counted.
    Handled(Earlier),
    /// Another delivery is being handled, or may be: there were as many starts as the limit, and the
    /// last one was a moment ago. Nothing was counted.
    InFlight,
}

/// The answer to [`PoisonStore::buried`]; complete by nature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buried {
    /// The message was handled.
    No,
    /// It is a dead letter that was tried so often.
    Dead(Attempts),
    /// It was one when the claim was seen, and has been requeued since: the next delivery is handled.
    Freed,
}

/// How often a message was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Attempts {
    /// Attempts that began.
    pub started: u32,
    /// Attempts that came back, with an error. The others died, or are under way.
    pub finished: u32,
}

impl Attempts {
    /// Counts.
    pub const fn new(started: u32, finished: u32) -> Self {
        Self { started, finished }
    }
}

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} started, {} finished", self.started, self.finished)
    }
}

/// An attempt that came back with an error.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Failure {
    /// Of which consumer.
    pub consumer: ConsumerId,
    /// At which message.
    pub key: InboxKey,
    /// The error and its causes, for people.
    pub reason: String,
    /// Whether [`PoisonStore::begin_attempt`] counted its start.
    pub begun: bool,
}

impl Failure {
    /// Reports a failure.
    pub const fn new(consumer: ConsumerId, key: InboxKey, reason: String, begun: bool) -> Self {
        Self { consumer, key, reason, begun }
    }
}

/// A message to be put among the dead letters.
#[derive(Clone)]
#[non_exhaustive]
pub struct Burial {
    /// Of which consumer.
    pub consumer: ConsumerId,
    /// Which message.
    pub key: InboxKey,
    /// How long its redeliveries are recognised.
    pub window: Window,
    /// How often it was tried.
    pub attempts: Attempts,
    /// Why, for people.
    pub reason: String,
    /// The message itself, if the layer was told how to keep it.
    pub payload: Option<Vec<u8>>,
}

impl Burial {
    /// Describes a burial.
    pub const fn new(
        consumer: ConsumerId,
        key: InboxKey,
        window: Window,
        attempts: Attempts,
        reason: String,
        payload: Option<Vec<u8>>,
    ) -> Self {
        Self { consumer, key, window, attempts, reason, payload }
    }
}

impl fmt::Debug for Burial {
    /// Payloads may hold what does not belong into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Burial")
            .field("consumer", &self.consumer)
            .field("key", &self.key)
            .field("attempts", &self.attempts)
            .field("payload_bytes", &self.payload.as_ref().map(Vec::len))
            .finish_non_exhaustive()
    }
}

macro_rules! forward {
    ($($pointer:ident)*) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<St: PoisonStore + ?Sized> PoisonStore for $pointer<St> {
            fn begin_attempt(
                &self,
                attempt: Attempt,
            ) -> BoxFuture<'static, Result<Begun, StoreError>> {
                (**self).begin_attempt(attempt)
            }

            fn withdraw_attempt(
                &self,
                consumer: ConsumerId,
                key: InboxKey,
            ) -> BoxFuture<'static, Result<(), StoreError>> {
                (**self).withdraw_attempt(consumer, key)
            }

            fn fail_attempt(
                &self,
                failure: Failure,
            ) -> BoxFuture<'static, Result<Attempts, StoreError>> {
                (**self).fail_attempt(failure)
            }

            fn forget_attempts<'a>(
                &'a self,
                connection: &'a mut Self::Connection,
                consumer: ConsumerId,
                key: InboxKey,
            ) -> BoxFuture<'a, Result<(), StoreError>> {
                (**self).forget_attempts(connection, consumer, key)
            }

            fn drop_attempts(
                &self,
                consumer: ConsumerId,
                key: InboxKey,
            ) -> BoxFuture<'static, Result<(), StoreError>> {
                (**self).drop_attempts(consumer, key)
            }

            fn begin_together(
                &self,
                consumer: ConsumerId,
                keys: Vec<InboxKey>,
                mark: bool,
            ) -> BoxFuture<'static, Result<Vec<bool>, StoreError>> {
                (**self).begin_together(consumer, keys, mark)
            }

            fn end_together<'a>(
                &'a self,
                connection: &'a mut Self::Connection,
                consumer: ConsumerId,
                keys: Vec<InboxKey>,
            ) -> BoxFuture<'a, Result<(), StoreError>> {
                (**self).end_together(connection, consumer, keys)
            }

            fn bury(&self, burial: Burial) -> BoxFuture<'static, Result<bool, StoreError>> {
                (**self).bury(burial)
            }

            fn buried(
                &self,
                consumer: ConsumerId,
                key: InboxKey,
            ) -> BoxFuture<'static, Result<Buried, StoreError>> {
                (**self).buried(consumer, key)
            }
        }
    )*};
}

forward!(Arc Box);

const _: fn(&dyn PoisonStore<Connection = ()>) = |_| {};
