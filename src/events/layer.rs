use std::fmt;

use tower_layer::Layer;

use super::{DedupService, EventDeduplicator};

/// Lets each event through to a service once in its window.
///
/// The event is claimed before the service is called, and confirmed when it succeeds or released when it
/// fails. Answers with [`Outcome`](crate::Outcome): the service's response, or that it was a duplicate.
///
/// ```
/// use tower::{Layer, ServiceExt};
/// use tower_inbox::{BoxError, Outcome, events::{DedupLayer, DeduplicationConfig,
///     EventDeduplicator, EventIdExtractor}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let by_number = EventIdExtractor::hash(|number: &u64| *number);
/// let events = EventDeduplicator::new(DeduplicationConfig::default(), by_number).await?;
/// let notify = DedupLayer::new(events)
///     .layer(tower::service_fn(async |number: u64| Ok::<_, BoxError>(number * 2)));
///
/// assert_eq!(notify.clone().oneshot(7).await?, Outcome::Handled(14));
/// assert_eq!(notify.oneshot(7).await?, Outcome::Duplicate);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// The error of the service, untouched; [`EventInFlight`](super::EventInFlight) where somebody else is
/// handling the event; [`EventsError`](super::EventsError) where the store failed before the service
/// was called.
///
/// When the service succeeded and the confirmation failed, the response is returned all the same, and
/// counted as [`unconfirmed`](super::DeduplicationStats::unconfirmed): the event was handled, and is
/// handled again if it is delivered again.
///
/// # Choosing a lease
///
/// [`lease`](super::DeduplicationConfigBuilder::lease) is longer than the service takes; put a timeout
/// inside that is shorter. A service that takes longer may find its event handled twice.
///
/// # Cancellation
///
/// A call that is dropped leaves its claim behind, and the event is in flight until the lease has run
/// out. A service that panics does the same.
#[must_use = "a layer does nothing until it is given a service"]
pub struct DedupLayer<T> {
    events: EventDeduplicator<T>,
    mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Claim,
    AtMostOnce,
}

impl<T> DedupLayer<T> {
    /// Claims events of a deduplicator.
    pub fn new(events: EventDeduplicator<T>) -> Self {
        Self { events, mode: Mode::Claim }
    }

    /// Marks events before the service is called: one round trip instead of two, and whatever the
    /// service fails to do, or the process dies over, is *lost*.
    ///
    /// For what may be missed and must not be repeated, like a notification.
    pub fn at_most_once(events: EventDeduplicator<T>) -> Self {
        Self { events, mode: Mode::AtMostOnce }
    }
}

impl<S, T> Layer<S> for DedupLayer<T> {
    type Service = DedupService<S, T>;

    fn layer(&self, inner: S) -> Self::Service {
        DedupService::new(inner, self.events.clone(), self.mode)
    }
}

impl<T> Clone for DedupLayer<T> {
    fn clone(&self) -> Self {
        Self { events: self.events.clone(), mode: self.mode }
    }
}

impl<T> fmt::Debug for DedupLayer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedupLayer")
            .field("events", &self.events)
            .field("mode", &self.mode)
            .finish()
    }
}
