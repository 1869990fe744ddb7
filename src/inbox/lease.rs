use std::{fmt, sync::Arc, time::Duration};

use super::{
    InvalidWindow, LeaseLost, Window,
    store::{Deed, Grant, InboxStore},
};
use crate::{
    error::{BoxError, StoreError},
    hook::BoxFuture,
    key::InboxKey,
};

/// The right to work on a message for a while.
///
/// Pass [`token`](Self::token) along with what the handler does elsewhere: it is larger than every
/// token given out before, so the receiver can refuse a worker that was overtaken.
///
/// A clone is the same lease. The inbox completes it when the handler returns `Ok` and releases it
/// when it returns an error.
#[derive(Clone)]
pub struct Lease {
    grant: Grant,
    store: Arc<dyn Settle>,
}

impl Lease {
    pub(super) fn new<St: InboxStore + 'static>(grant: Grant, store: Arc<St>) -> Self {
        Self { grant, store }
    }

    /// The inbox key of the message.
    pub fn key(&self) -> InboxKey {
        self.grant.key
    }

    /// The fencing token.
    pub fn token(&self) -> i64 {
        self.grant.token
    }

    /// How many times this message was leased without being completed, this one included.
    pub fn attempt(&self) -> u32 {
        self.grant.attempt
    }

    /// Makes the lease last for this long from now.
    ///
    /// # Errors
    ///
    /// [`InvalidWindow`] for less than a second or more than ten years, [`LeaseLost`] if it had run
    /// out, a [`StoreError`] if the store cannot tell.
    pub async fn extend(&self, lease: Duration) -> Result<(), BoxError> {
        let lease = Window::try_from(lease).map_err(|error: InvalidWindow| error)?;
        if self.settle(Deed::Extend(lease)).await? { Ok(()) } else { Err(LeaseLost::new().into()) }
    }

    pub(super) fn grant(&self) -> Grant {
        self.grant
    }

    pub(super) fn settle(&self, deed: Deed) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.store.settle(self.grant, deed)
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("grant", &self.grant).finish_non_exhaustive()
    }
}

/// The part of a store that a lease needs, whatever the store's connection is.
trait Settle: Send + Sync {
    fn settle(&self, grant: Grant, deed: Deed) -> BoxFuture<'static, Result<bool, StoreError>>;
}

impl<St: InboxStore> Settle for St {
    fn settle(&self, grant: Grant, deed: Deed) -> BoxFuture<'static, Result<bool, StoreError>> {
        InboxStore::settle(self, grant, deed)
    }
}
