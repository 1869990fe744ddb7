use std::{fmt, sync::Arc};

use super::{ConsumerId, Grant, InboxStore};
use crate::{
    error::StoreError,
    hook::BoxFuture,
    inbox::Window,
    key::{Fingerprint, InboxKey},
};

/// Keeps a [`Record`] beside a claim, for layers that replay responses or compare fingerprints.
///
/// # Contract
///
/// A record lives and dies with the claim it was written for: it is committed or rolled back with it,
/// is found as long as the claim is recognised, and is never found for another claim of the same key.
/// Rows of claims that are over are removed by the store's sweeper.
///
/// # Cancellation
///
/// As for [`InboxStore`].
pub trait RecordStore: InboxStore {
    /// Writes the record inside the transaction that holds the claim.
    fn keep<'a>(
        &'a self,
        connection: &'a mut Self::Connection,
        consumer: ConsumerId,
        key: InboxKey,
        record: Record,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Completes a lease and writes the record, both or neither. `false` means the lease was lost,
    /// and nothing was done.
    fn complete_with(
        &self,
        grant: Grant,
        window: Window,
        record: Record,
    ) -> BoxFuture<'static, Result<bool, StoreError>>;

    /// Reads the record of a claim that stands; `None` where there is none.
    fn kept(
        &self,
        consumer: ConsumerId,
        key: InboxKey,
    ) -> BoxFuture<'static, Result<Option<Record>, StoreError>>;
}

/// What is kept beside a claim for as long as it is recognised.
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Record {
    /// Of the message that was handled.
    pub fingerprint: Option<Fingerprint>,
    /// The encoded response of its handler.
    pub response: Option<Vec<u8>>,
}

impl Record {
    /// Keeps both.
    pub const fn new(fingerprint: Option<Fingerprint>, response: Option<Vec<u8>>) -> Self {
        Self { fingerprint, response }
    }
}

impl fmt::Debug for Record {
    /// Responses may hold what does not belong into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("fingerprint", &self.fingerprint)
            .field("response_bytes", &self.response.as_ref().map(Vec::len))
            .finish()
    }
}

macro_rules! forward {
    ($($pointer:ident)*) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<St: RecordStore + ?Sized> RecordStore for $pointer<St> {
            fn keep<'a>(
                &'a self,
                connection: &'a mut Self::Connection,
                consumer: ConsumerId,
                key: InboxKey,
                record: Record,
            ) -> BoxFuture<'a, Result<(), StoreError>> {
                (**self).keep(connection, consumer, key, record)
            }

            fn complete_with(
                &self,
                grant: Grant,
                window: Window,
                record: Record,
            ) -> BoxFuture<'static, Result<bool, StoreError>> {
                (**self).complete_with(grant, window, record)
            }

            fn kept(
                &self,
                consumer: ConsumerId,
                key: InboxKey,
            ) -> BoxFuture<'static, Result<Option<Record>, StoreError>> {
                (**self).kept(consumer, key)
            }
        }
    )*};
}

forward!(Arc Box);

const _: fn(&dyn RecordStore<Connection = ()>) = |_| {};
