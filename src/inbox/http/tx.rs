use std::{
    error::Error,
    fmt,
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::inbox::InboxTx;

/// A handle to the open transaction of a request, among the request's extensions.
///
/// `C` is the connection: `sqlx::PgConnection` or `sqlx::SqliteConnection`. All clones lead to the one
/// transaction, which commits with the claim if the response is one that is kept.
///
/// In axum the extractor `Extension<IdempotentTx<SqliteConnection>>` gets it:
///
/// ```
/// use axum::{Extension, http::StatusCode};
/// use sqlx::SqliteConnection;
/// use tower_inbox::inbox::http::IdempotentTx;
///
/// async fn pay(
///     Extension(tx): Extension<IdempotentTx<SqliteConnection>>,
/// ) -> Result<StatusCode, StatusCode> {
///     let mut tx = tx.take().map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
///     sqlx::query("insert into payment default values")
///         .execute(&mut *tx)
///         .await
///         .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
///     Ok(StatusCode::CREATED)
/// }
/// # let _ = axum::Router::<()>::new().route("/", axum::routing::post(pay));
/// ```
///
/// # Bringing it home
///
/// When the response, its body included, is there, nobody may hold what [`take`](Self::take) or
/// [`lock`](Self::lock) returned: then nothing is committed, and the client gets a 500. Usually a
/// task was spawned with it. Handles may stay wherever they are.
pub struct IdempotentTx<C: Send + 'static> {
    tx: Arc<Mutex<Option<InboxTx<C>>>>,
    /// Whether the request is over; whoever lets go of the transaction then sends it home.
    over: Arc<AtomicBool>,
}

impl<C: Send + 'static> IdempotentTx<C> {
    pub(super) fn new(tx: InboxTx<C>) -> Self {
        Self { tx: Arc::new(Mutex::new(Some(tx))), over: Arc::default() }
    }

    /// Takes the transaction. Dropping it hands it back to the layer, not to this handle.
    ///
    /// # Errors
    ///
    /// It was taken, is locked at this moment, or the request is over.
    pub fn take(&self) -> Result<InboxTx<C>, TransactionTaken> {
        let mut tx = self.tx.try_lock().map_err(|_| TransactionTaken::new())?;
        // After the request is over there is none, or it goes home with this lock.
        tx.take().filter(|_| !self.over.load(Ordering::SeqCst)).ok_or(TransactionTaken::new())
    }

    /// Waits for the transaction and borrows it, for a request that several parties write for: a
    /// middleware, then the handler.
    ///
    /// # Errors
    ///
    /// It was taken, or the request is over.
    ///
    /// # Cancellation
    ///
    /// Safe to drop at any time. The place in the queue is lost.
    pub async fn lock(&self) -> Result<IdempotentTxGuard<C>, TransactionTaken> {
        let tx = Arc::clone(&self.tx).lock_owned().await;
        let guard = IdempotentTxGuard { tx, over: Arc::clone(&self.over) };
        if guard.tx.is_none() || self.over.load(Ordering::SeqCst) {
            return Err(TransactionTaken::new());
        }
        Ok(guard)
    }

    /// Sends the transaction home, now or when whoever holds it lets go.
    fn close(&self) {
        // Before the lock is tried: a guard that is dropped in between sees it.
        self.over.store(true, Ordering::SeqCst);
        if let Ok(mut tx) = self.tx.try_lock() {
            tx.take();
        }
    }
}

impl<C: Send + 'static> Clone for IdempotentTx<C> {
    fn clone(&self) -> Self {
        Self { tx: Arc::clone(&self.tx), over: Arc::clone(&self.over) }
    }
}

impl<C: Send + 'static> fmt::Debug for IdempotentTx<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotentTx").finish_non_exhaustive()
    }
}

/// The transaction, borrowed; dereferences to the connection.
pub struct IdempotentTxGuard<C: Send + 'static> {
    tx: OwnedMutexGuard<Option<InboxTx<C>>>,
    over: Arc<AtomicBool>,
}

impl<C: Send + 'static> Deref for IdempotentTxGuard<C> {
    type Target = C;

    fn deref(&self) -> &C {
        self.tx.as_ref().expect("a guard is made of a transaction that is there")
    }
}

impl<C: Send + 'static> DerefMut for IdempotentTxGuard<C> {
    fn deref_mut(&mut self) -> &mut C {
        self.tx.as_mut().expect("a guard is made of a transaction that is there")
    }
}

impl<C: Send + 'static> Drop for IdempotentTxGuard<C> {
    fn drop(&mut self) {
        if self.over.load(Ordering::SeqCst) {
            self.tx.take();
        }
    }
}

impl<C: Send + 'static> fmt::Debug for IdempotentTxGuard<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotentTxGuard").finish_non_exhaustive()
    }
}

/// The transaction of the request is not there: somebody took it, has it at the moment, or the
/// request is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TransactionTaken {}

impl TransactionTaken {
    const fn new() -> Self {
        Self {}
    }
}

impl fmt::Display for TransactionTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the transaction of the request was taken, or the request is over")
    }
}

impl Error for TransactionTaken {}

/// Sends the transaction home when the response is there, wherever handles to it are.
#[doc(hidden)]
#[allow(missing_debug_implementations, unreachable_pub)] // named by `Open`
pub struct CloseOnDrop<C: Send + 'static>(pub(super) IdempotentTx<C>);

impl<C: Send + 'static> Drop for CloseOnDrop<C> {
    fn drop(&mut self) {
        self.0.close();
    }
}
