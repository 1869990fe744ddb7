//! What to do when something outside fails for a while: wait and try again, and stop asking.

mod backoff;
mod breaker;

pub use backoff::Retries;
pub(crate) use backoff::time;
pub(crate) use breaker::Breaker;
