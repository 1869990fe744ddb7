use std::future::poll_fn;

use tower_service::Service;

use crate::error::BoxError;

/// The inner service for one call after another: first the one that was polled ready by the caller,
/// then clones, each made ready before it is taken.
pub(super) struct Handlers<S> {
    ready: Option<S>,
    clones: S,
}

impl<S: Clone> Handlers<S> {
    pub(super) fn new(ready: S, clones: S) -> Self {
        Self { ready: Some(ready), clones }
    }

    /// Where nobody has polled one yet.
    pub(super) const fn unready(clones: S) -> Self {
        Self { ready: None, clones }
    }

    /// Sees to it that one is ready.
    pub(super) async fn make_ready<R>(&mut self) -> Result<(), BoxError>
    where
        S: Service<R>,
        S::Error: Into<BoxError>,
    {
        if self.ready.is_none() {
            let mut clone = self.clones.clone();
            poll_fn(|cx| clone.poll_ready(cx).map_err(Into::into)).await?;
            self.ready = Some(clone);
        }
        Ok(())
    }

    /// Takes the one that is ready.
    pub(super) fn take(&mut self) -> S {
        self.ready.take().expect("`make_ready` comes before each call")
    }
}
