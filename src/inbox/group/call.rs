use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

use tower_service::Service;
use tracing::Instrument;

use super::item::{Caller, Ran};
use crate::{
    error::BoxError,
    inbox::{Received, error::from_handler},
};

/// Calls the handler for as long as somebody waits for it. Whatever it keeps of the transaction is
/// dropped when this returns.
pub(super) async fn call<M, S, C>(
    mut handler: S,
    received: Received<M, C>,
    caller: &mut Caller<S::Response>,
) -> Ran<S::Response>
where
    S: Service<Received<M, C>>,
    S::Error: Into<BoxError>,
    C: Send + 'static,
{
    let span = caller.span.clone();
    let mut handling = pin!(async move { handler.call(received).await }.instrument(span));
    poll_fn(|cx| {
        // A panic is the caller's; the others in the group go on. What the handler left broken is
        // dropped unseen, but for the transaction, which goes back to the savepoint.
        let polled = catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(cx)));
        match polled {
            Err(panic) => Poll::Ready(Ran::Panicked(panic)),
            Ok(Poll::Ready(Ok(response))) => Poll::Ready(Ran::Handled(response)),
            Ok(Poll::Ready(Err(error))) => {
                Poll::Ready(Ran::Failed { error: from_handler(error), succeeded: false })
            }
            Ok(Poll::Pending) => caller.reply.poll_closed(cx).map(|()| Ran::Abandoned),
        }
    })
    .await
}
