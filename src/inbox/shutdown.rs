use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};

use tokio::time::timeout;

/// Rests for a while, and says whether the shutdown came meanwhile.
pub(super) async fn stopped<F: Future<Output = ()>>(
    mut shutdown: Pin<&mut F>,
    rest: Duration,
) -> bool {
    if rest.is_zero() {
        // A timer would rest for a millisecond all the same.
        return poll_fn(|cx| Poll::Ready(shutdown.as_mut().poll(cx).is_ready())).await;
    }
    timeout(rest, shutdown).await.is_ok()
}
