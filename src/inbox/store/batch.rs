use std::{fmt, sync::Arc, time::Duration};

use super::{BoxTx, ConsumerId, Earlier, InboxStore};
use crate::{error::StoreError, hook::BoxFuture, inbox::Window, key::InboxKey};

/// Claims many messages in one transaction, and reads which are handled without one.
///
/// # Contract
///
/// What [`InboxStore`] promises of one key holds here for each. Two batches with the same keys in
/// opposite orders end; neither makes the other fail. What a batch cannot have at once, or within its
/// `wait`, is in flight for it, and the rest of the batch is not held up by that.
///
/// # Cancellation
///
/// As for [`InboxStore`]: every future may be dropped at any await.
///
/// The module `testing::conformance` (feature `testing`) holds a store against this.
pub trait BatchStore: InboxStore {
    /// Opens a transaction and claims the messages in it.
    ///
    /// If none is won, there is no transaction.
    fn claim_batch(
        &self,
        claim: BatchClaim,
    ) -> BoxFuture<'static, Result<BatchClaimed<Self::Connection>, StoreError>>;

    /// Reads which messages are handled and within their window, in the order of the keys.
    ///
    /// `Some` stands for as long as the window lasts. `None` says little: the message may be new, in
    /// flight, or handled a moment later; only a claim decides.
    fn handled(
        &self,
        consumer: ConsumerId,
        keys: Vec<InboxKey>,
    ) -> BoxFuture<'static, Result<Vec<Option<Earlier>>, StoreError>>;
}

/// A request for claims inside one transaction.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BatchClaim {
    /// For which consumer.
    pub consumer: ConsumerId,
    /// Which messages; no key may stand in it twice.
    pub keys: Vec<InboxKey>,
    /// How long redeliveries shall be recognised.
    pub window: Window,
    /// How long to wait for other deliveries of these messages to end, all in all. SQLite's single
    /// writer waits for its busy timeout instead.
    pub wait: Duration,
}

impl BatchClaim {
    /// Asks for claims.
    pub const fn new(
        consumer: ConsumerId,
        keys: Vec<InboxKey>,
        window: Window,
        wait: Duration,
    ) -> Self {
        Self { consumer, keys, window, wait }
    }
}

/// The answers to a [`BatchClaim`].
#[non_exhaustive]
pub struct BatchClaimed<C> {
    /// One for each key, in the order of the keys.
    pub answers: Vec<KeyClaimed>,
    /// The transaction that holds the claims that were won; `None` if none was.
    pub tx: Option<BoxTx<C>>,
}

impl<C> BatchClaimed<C> {
    /// Answers a request.
    pub const fn new(answers: Vec<KeyClaimed>, tx: Option<BoxTx<C>>) -> Self {
        Self { answers, tx }
    }
}

impl<C> fmt::Debug for BatchClaimed<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchClaimed").field("answers", &self.answers).finish_non_exhaustive()
    }
}

/// The answer to one key of a [`BatchClaim`]; complete by nature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyClaimed {
    /// The message is ours, in the batch's transaction.
    Won,
    /// It was handled within its window.
    Duplicate(Earlier),
    /// Another delivery is being handled.
    InFlight,
}

macro_rules! forward {
    ($($pointer:ident)*) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<St: BatchStore + ?Sized> BatchStore for $pointer<St> {
            fn claim_batch(
                &self,
                claim: BatchClaim,
            ) -> BoxFuture<'static, Result<BatchClaimed<Self::Connection>, StoreError>> {
                (**self).claim_batch(claim)
            }

            fn handled(
                &self,
                consumer: ConsumerId,
                keys: Vec<InboxKey>,
            ) -> BoxFuture<'static, Result<Vec<Option<Earlier>>, StoreError>> {
                (**self).handled(consumer, keys)
            }
        }
    )*};
}

forward!(Arc Box);

const _: fn(&dyn BatchStore<Connection = ()>) = |_| {};
