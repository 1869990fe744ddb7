use std::{sync::Arc, time::Duration};

use crate::{events::backend::EventBackend, hook::BoxFuture};

/// What the conformance suite needs around an [`EventBackend`].
///
/// One harness is one namespace that is empty and that nobody else uses. Windows of a second or less and
/// leases of a few hundred milliseconds have to fit the backend: a suite on a real server waits for them.
pub trait EventHarness: Send + Sync + 'static {
    /// The backend. Each call may give the same one.
    fn backend(&self) -> Arc<dyn EventBackend>;

    /// Another handle to the same marks and claims, as another process would have it.
    fn another(&self) -> Arc<dyn EventBackend>;

    /// Lets time pass: by sleeping on a server, by moving the clock where a test has one.
    fn pass(&self, time: Duration) -> BoxFuture<'_, ()>;

    /// The time by the clock that [`pass`](Self::pass) waits for; only differences count.
    fn now(&self) -> Duration;

    /// How many distinct windows there may be; none where there may be any number.
    fn max_windows(&self) -> Option<usize>;
}
