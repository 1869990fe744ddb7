use std::{
    fmt, mem,
    task::{Context, Poll},
};

use tower_service::Service;

use super::{
    Claimed, DedupFuture, EventDeduplicator, EventInFlight,
    engine::{CHECK_AND_MARK, CLAIM},
    layer::Mode,
};
use crate::{error::BoxError, outcome::Outcome};

/// Lets each event through once in its window; made by [`DedupLayer`](super::DedupLayer).
pub struct DedupService<S, T> {
    inner: S,
    events: EventDeduplicator<T>,
    mode: Mode,
}

impl<S, T> DedupService<S, T> {
    pub(super) const fn new(inner: S, events: EventDeduplicator<T>, mode: Mode) -> Self {
        Self { inner, events, mode }
    }

    /// The service inside.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside, to be changed.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The service inside, alone.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, T> Service<T> for DedupService<S, T>
where
    S: Service<T> + Clone + Send + 'static,
    S::Response: Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    T: Send + 'static,
{
    type Response = Outcome<S::Response>;
    type Error = BoxError;
    type Future = DedupFuture<S::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, event: T) -> Self::Future {
        // The one that was polled ready is the one that is called.
        let fresh = self.inner.clone();
        let inner = mem::replace(&mut self.inner, fresh);
        let events = self.events.clone();
        match self.mode {
            Mode::Claim => DedupFuture::new(claimed(inner, events, event)),
            Mode::AtMostOnce => DedupFuture::new(at_most_once(inner, events, event)),
        }
    }
}

async fn claimed<S, T>(
    mut inner: S,
    events: EventDeduplicator<T>,
    event: T,
) -> Result<Outcome<S::Response>, BoxError>
where
    S: Service<T>,
    S::Error: Into<BoxError>,
{
    let ids = events.id_of(&event, CLAIM)?;
    let claim = match events.claim_id(&ids).await? {
        Claimed::New(claim) => claim,
        Claimed::Duplicate => return Ok(Outcome::Duplicate),
        Claimed::InFlight => return Err(EventInFlight::new(events.config().lease()).into()),
    };
    let handled = inner.call(event).await.map_err(Into::into);
    match handled {
        Ok(response) => {
            if let Err(error) = events.confirm(&claim).await {
                tracing::warn!(%error, "an event was handled and could not be confirmed");
            }
            Ok(Outcome::Handled(response))
        }
        Err(error) => {
            if let Err(unreleased) = events.release(&claim).await {
                tracing::warn!(error = %unreleased, "a failed event waits for its lease");
            }
            Err(error)
        }
    }
}

async fn at_most_once<S, T>(
    mut inner: S,
    events: EventDeduplicator<T>,
    event: T,
) -> Result<Outcome<S::Response>, BoxError>
where
    S: Service<T>,
    S::Error: Into<BoxError>,
{
    let ids = events.id_of(&event, CHECK_AND_MARK)?;
    if events.check_and_mark_id(&ids, events.window()).await? {
        inner.call(event).await.map(Outcome::Handled).map_err(Into::into)
    } else {
        Ok(Outcome::Duplicate)
    }
}

impl<S: Clone, T> Clone for DedupService<S, T> {
    fn clone(&self) -> Self {
        let Self { inner, events, mode } = self;
        Self { inner: inner.clone(), events: events.clone(), mode: *mode }
    }
}

impl<S: fmt::Debug, T> fmt::Debug for DedupService<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedupService")
            .field("inner", &self.inner)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}
