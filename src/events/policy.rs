use serde::Deserialize;

/// What becomes of an event when the backend fails, after all retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FailurePolicy {
    /// The operation fails, and the event has to come again. Nothing is handled twice for it, and
    /// nothing is handled while the backend is away.
    #[default]
    Closed,
    /// The event counts as new: nothing waits, and duplicates pass. Each is counted
    /// ([`failed_open`](super::DeduplicationStats::failed_open)) and logged.
    ///
    /// Wrong configurations, events without an id, and a server that refuses us are errors all the same.
    Open,
}
