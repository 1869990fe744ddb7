use std::{
    error::Error,
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use tokio::sync::{Mutex, OwnedMappedMutexGuard, OwnedMutexGuard};

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
pub struct IdempotentTx<C: Send + 'static>(Arc<Mutex<Option<InboxTx<C>>>>);

impl<C: Send + 'static> IdempotentTx<C> {
    pub(super) fn new(tx: InboxTx<C>) -> Self {
        Self(Arc::new(Mutex::new(Some(tx))))
    }

    /// Takes the transaction. Dropping it hands it back to the layer, not to this handle.
    ///
    /// # Errors
    ///
    /// It was taken, is locked at this moment, or the request is over.
    pub fn take(&self) -> Result<InboxTx<C>, TransactionTaken> {
        let mut tx = self.0.try_lock().map_err(|_| TransactionTaken::new())?;
        tx.take().ok_or(TransactionTaken::new())
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
        let tx = Arc::clone(&self.0).lock_owned().await;
        match OwnedMutexGuard::try_map(tx, Option::as_mut) {
            Ok(tx) => Ok(IdempotentTxGuard(tx)),
            Err(_) => Err(TransactionTaken::new()),
        }
    }

    /// Sends a transaction home that nobody holds.
    fn close(&self) {
        if let Ok(mut tx) = self.0.try_lock() {
            tx.take();
        }
    }
}

impl<C: Send + 'static> Clone for IdempotentTx<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: Send + 'static> fmt::Debug for IdempotentTx<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotentTx").finish_non_exhaustive()
    }
}

/// The transaction, borrowed; dereferences to the connection.
pub struct IdempotentTxGuard<C: Send + 'static>(
    OwnedMappedMutexGuard<Option<InboxTx<C>>, InboxTx<C>>,
);

impl<C: Send + 'static> Deref for IdempotentTxGuard<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.0
    }
}

impl<C: Send + 'static> DerefMut for IdempotentTxGuard<C> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self.0
    }
}

impl<C: Send + 'static> fmt::Debug for IdempotentTxGuard<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IdempotentTxGuard").field(&*self.0).finish()
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
