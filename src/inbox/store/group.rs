use std::sync::Arc;

use super::{Claim, InboxStore, KeyClaimed};
use crate::{error::StoreError, hook::BoxFuture};

/// Keeps messages apart that share one transaction and one commit.
///
/// # Contract
///
/// For each message of a group, in a transaction of [`begin`](InboxStore::begin), the inbox
/// calls [`begin_message`](Self::begin_message), and if that is won the handler, and then one of
/// [`keep_message`](Self::keep_message) and [`undo_message`](Self::undo_message). An error of any of
/// them means that the transaction is not what it was: nothing in it may be relied on, and no message
/// of it is told to have been handled.
///
/// A message is claimed when it is its turn and not before: a handler that commits the transaction
/// behind our back must not commit the claims of messages that nobody has handled.
///
/// # Cancellation
///
/// A future that is dropped leaves the transaction to be rolled back.
pub trait GroupStore: InboxStore {
    /// Marks the place to which [`undo_message`](Self::undo_message) goes back, and claims the message,
    /// if it has a key. Where it is not won, nothing is left to undo.
    fn begin_message<'a>(
        &'a self,
        connection: &'a mut Self::Connection,
        claim: Option<Claim>,
    ) -> BoxFuture<'a, Result<KeyClaimed, StoreError>>;

    /// Keeps what was written since, with the claim.
    fn keep_message<'a>(
        &'a self,
        connection: &'a mut Self::Connection,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Undoes what was written since, and the claim.
    fn undo_message<'a>(
        &'a self,
        connection: &'a mut Self::Connection,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
}

macro_rules! forward {
    ($($pointer:ident)*) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<St: GroupStore + ?Sized> GroupStore for $pointer<St> {
            fn begin_message<'a>(
                &'a self,
                connection: &'a mut Self::Connection,
                claim: Option<Claim>,
            ) -> BoxFuture<'a, Result<KeyClaimed, StoreError>> {
                (**self).begin_message(connection, claim)
            }

            fn keep_message<'a>(
                &'a self,
                connection: &'a mut Self::Connection,
            ) -> BoxFuture<'a, Result<(), StoreError>> {
                (**self).keep_message(connection)
            }

            fn undo_message<'a>(
                &'a self,
                connection: &'a mut Self::Connection,
            ) -> BoxFuture<'a, Result<(), StoreError>> {
                (**self).undo_message(connection)
            }
        }
    )*};
}

forward!(Arc Box);

const _: fn(&dyn GroupStore<Connection = ()>) = |_| {};
