use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
};

use super::store::BoxTx;
use crate::key::InboxKey;

/// The open transaction that holds a message's claim.
///
/// Dereferences to the connection: `sqlx::query(…).execute(&mut *tx)`. Owned, so it can be moved into
/// whatever handles the message; dropping it hands the transaction back to the inbox, which commits
/// it if the handler returns `Ok`, and rolls it back otherwise.
///
/// Savepoints work (`Connection::begin` on it).
///
/// # Ending it yourself
///
/// `commit` and `rollback` as SQL are the inbox's. A handler that sends one and returns `Ok` gets an
/// [`Aborted`](crate::error::StoreErrorKind::Aborted) store error; what it committed stands, the claim
/// with it. One that sends `commit and chain` or `rollback and chain` deceives the inbox: what is then
/// acknowledged may have been rolled back. On SQLite the same goes for statements with `on conflict
/// rollback`, and for errors such as a full disk, after which SQLite has ended the transaction by
/// itself: return the error instead of writing on.
///
/// # Cancellation
///
/// When the call's future is dropped, the transaction is rolled back and the connection goes back to
/// its pool; the claim is gone and a redelivery is handled.
pub struct InboxTx<C: Send + 'static> {
    tx: Option<BoxTx<C>>,
    key: Option<InboxKey>,
    home: Home<C>,
}

/// Where a transaction comes back to. One that comes when it is closed, or when the other half is
/// gone, is dropped, which rolls it back.
pub(super) struct Home<C>(Arc<Mutex<Slot<C>>>);

enum Slot<C> {
    Away,
    Returned(BoxTx<C>),
    Closed,
}

impl<C: Send + 'static> InboxTx<C> {
    pub(super) fn new(tx: BoxTx<C>, key: Option<InboxKey>) -> (Self, Home<C>) {
        let home = Home(Arc::new(Mutex::new(Slot::Away)));
        (Self { tx: Some(tx), key, home: Home(Arc::clone(&home.0)) }, home)
    }

    /// The key that this transaction holds the claim of; absent for a message that was let through
    /// without one, and for more than one message.
    pub fn key(&self) -> Option<InboxKey> {
        self.key
    }
}

impl<C: Send + 'static> Home<C> {
    /// Takes the transaction back, if its holder has let go of it.
    pub(super) fn take(&self) -> Option<BoxTx<C>> {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *place, Slot::Closed) {
            Slot::Returned(tx) => Some(tx),
            Slot::Away | Slot::Closed => None,
        }
    }
}

impl<C: Send + 'static> Drop for InboxTx<C> {
    fn drop(&mut self) {
        let Some(tx) = self.tx.take() else { return };
        let mut place = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*place, Slot::Away) {
            *place = Slot::Returned(tx);
        }
    }
}

impl<C: Send + 'static> Deref for InboxTx<C> {
    type Target = C;

    fn deref(&self) -> &C {
        self.tx.as_ref().expect("the transaction is only taken by drop").connection()
    }
}

impl<C: Send + 'static> DerefMut for InboxTx<C> {
    fn deref_mut(&mut self) -> &mut C {
        self.tx.as_mut().expect("the transaction is only taken by drop").connection_mut()
    }
}

impl<C: Send + 'static> fmt::Debug for InboxTx<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxTx").field("key", &self.key).finish_non_exhaustive()
    }
}
