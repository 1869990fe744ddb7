use super::{InboxTx, Lease};

/// A message with the transaction that holds its claim; what the inner service gets.
///
/// `C` is the connection: `sqlx::PgConnection` or `sqlx::SqliteConnection`.
#[derive(Debug)]
#[non_exhaustive]
pub struct Received<M, C: Send + 'static> {
    /// The message.
    pub message: M,
    /// The open transaction. Write through it, drop it, return `Ok`: then it commits with the claim.
    pub tx: InboxTx<C>,
}

impl<M, C: Send + 'static> Received<M, C> {
    pub(super) const fn new(message: M, tx: InboxTx<C>) -> Self {
        Self { message, tx }
    }

    /// Both parts.
    pub fn into_parts(self) -> (M, InboxTx<C>) {
        (self.message, self.tx)
    }

    /// Changes the message, for a layer between the inbox and the handler.
    pub fn map<T>(self, f: impl FnOnce(M) -> T) -> Received<T, C> {
        Received { message: f(self.message), tx: self.tx }
    }
}

/// A message with the lease that holds its claim; what the inner service gets in leased mode.
#[derive(Debug)]
#[non_exhaustive]
pub struct Leased<M> {
    /// The message.
    pub message: M,
    /// The lease, with its fencing token; absent for a message that was let through without a key.
    pub lease: Option<Lease>,
}

impl<M> Leased<M> {
    pub(super) const fn new(message: M, lease: Option<Lease>) -> Self {
        Self { message, lease }
    }

    /// Both parts.
    pub fn into_parts(self) -> (M, Option<Lease>) {
        (self.message, self.lease)
    }

    /// Changes the message, for a layer between the inbox and the handler.
    pub fn map<T>(self, f: impl FnOnce(M) -> T) -> Leased<T> {
        Leased { message: f(self.message), lease: self.lease }
    }
}
