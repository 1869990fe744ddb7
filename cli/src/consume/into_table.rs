use std::{error::Error, sync::Arc};

use tower_inbox::{BoxError, error::StoreError, inbox::Received};

use super::{Message, verdict::Refused};
use crate::database::{Backend, Insert};

/// Writes the message into its table, in the transaction that holds its claim.
pub(super) async fn handle<B: Backend>(
    insert: Insert,
    received: Received<Arc<Message>, B::Connection>,
) -> Result<(), StoreError> {
    let (message, mut tx) = received.into_parts();
    let key = tx.key().expect("a line without a key is a dead letter");
    B::insert(&mut tx, &insert, key, &message.text)
        .await
        .map_err(|error| B::error(error, "could not insert the message"))
}

/// Finds the errors that are about one message only, be it at the insert or, for a deferred
/// constraint, at the commit.
pub(super) fn refused<B: Backend>(error: BoxError) -> BoxError {
    match refusal::<B>(&*error) {
        Some(cause) => Refused(format!("the table refused it: {cause}")).into(),
        None => error,
    }
}

/// The database's word, where it is about the message.
pub(super) fn refusal<'a, B: Backend>(error: &'a (dyn Error + 'static)) -> Option<&'a sqlx::Error> {
    let cause = error.downcast_ref::<StoreError>().and_then(Error::source)?;
    cause.downcast_ref().filter(|cause| B::concerns_message(cause))
}
