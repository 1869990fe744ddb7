use std::{pin::Pin, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tower::retry::Policy;
use tower_inbox::{
    BoxError,
    error::{StoreError, StoreErrorKind},
    inbox::InFlight,
};

/// Tries a message again that another run is handling, or that found the database busy.
///
/// After a run was killed, its claims stay in flight until their leases end; waiting for them is
/// what lets the run that follows handle everything.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    in_flight: Duration,
    pause: Duration,
    since: Option<Instant>,
    stop: watch::Receiver<bool>,
}

/// Tells everybody who waits that the run is about to end.
#[derive(Debug, Clone)]
pub(super) struct Stop(Arc<watch::Sender<bool>>);

impl Patience {
    pub(super) fn new(in_flight: Duration, stop: &Stop) -> Self {
        Self { in_flight, pause: SHORTEST, since: None, stop: stop.0.subscribe() }
    }
}

impl<M: Clone, R> Policy<M, R, BoxError> for Patience {
    type Future = Pin<Box<dyn Future<Output = ()>>>;

    fn retry(&mut self, _: &mut M, result: &mut Result<R, BoxError>) -> Option<Self::Future> {
        let error = result.as_ref().err()?;
        let limit = if error.is::<InFlight>() {
            self.in_flight
        } else if is_busy(error) {
            BUSY
        } else {
            return None;
        };
        let left = limit.checked_sub(self.since.get_or_insert_with(Instant::now).elapsed())?;
        if left < TICK || *self.stop.borrow() {
            return None;
        }
        let pause = self.pause.min(left);
        self.pause = (self.pause * 3 / 2).min(LONGEST);
        let mut stop = self.stop.clone();
        Some(Box::pin(async move {
            tokio::select! {
                () = sleep(pause) => {}
                // Nobody left to say stop is no reason to hurry.
                Ok(_) = stop.wait_for(|stop| *stop) => {}
            }
        }))
    }

    fn clone_request(&mut self, message: &M) -> Option<M> {
        Some(message.clone())
    }
}

impl Stop {
    pub(super) fn now(&self) {
        self.0.send_replace(true);
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

fn is_busy(error: &BoxError) -> bool {
    error.downcast_ref().is_some_and(|error: &StoreError| error.kind() == StoreErrorKind::Busy)
}

// What timers resolve.
const TICK: Duration = Duration::from_millis(1);
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(1);
// Others hold the database for seconds at most; after a minute somebody should look.
const BUSY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn in_flight_is_tried_again_until_the_wait_is_over() {
        let mut patience = Patience::new(Duration::from_secs(5), &Stop::default());
        let started = Instant::now();
        let mut tries = 0;
        while let Some(pause) = patience.retry(&mut (), &mut in_flight()) {
            pause.await;
            tries += 1;
        }
        assert_eq!(started.elapsed().as_secs(), 5);
        assert!((5..15).contains(&tries), "{tries}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_the_wait() {
        let stop = Stop::default();
        let mut patience = Patience::new(Duration::from_secs(3600), &stop);
        let pause = patience.retry(&mut (), &mut in_flight()).unwrap();
        stop.now();
        pause.await;
        assert!(patience.retry(&mut (), &mut in_flight()).is_none());
    }

    #[tokio::test]
    async fn nothing_else_is_tried_again() {
        let mut patience = Patience::new(Duration::from_secs(5), &Stop::default());
        assert!(patience.retry(&mut (), &mut Ok(())).is_none());
        let full = StoreError::new(StoreErrorKind::Full, "full");
        assert!(patience.retry(&mut (), &mut Err::<(), _>(full.into())).is_none());
        let busy = StoreError::new(StoreErrorKind::Busy, "busy");
        assert!(patience.retry(&mut (), &mut Err::<(), _>(busy.into())).is_some());
    }

    fn in_flight() -> Result<(), BoxError> {
        Err(InFlight::new().into())
    }
}
