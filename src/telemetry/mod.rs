//! What the inbox tells of itself in numbers, through the `metrics` facade (feature `metrics`).
//!
//! Install any exporter of the `metrics` family, and the numbers are there; without the feature
//! nothing is measured, and nothing is paid for it. `docs/metrics.md` in the repository has the table:
//! name, type, labels, unit and meaning of each. [`describe`] tells the exporter units and meanings.
//!
//! For `tracing`, each delivery is a span `inbox.deliver` (info) with the fields `consumer`, `decision`
//! and, where the level debug is on, `key`; the handler runs in it. A batch is one span
//! `inbox.deliver_batch` with `consumer` and the number of `messages`. Claims are told at the level
//! trace, failed rounds of the sweeper and dead letters at warn.

#[cfg(feature = "metrics")]
mod facade;
#[cfg(not(feature = "metrics"))]
mod silent;

#[cfg(feature = "metrics")]
pub use facade::describe;
#[cfg(feature = "metrics")]
pub(crate) use facade::{
    Stopwatch, Timing, attempt_failed, buried, decided, duplicate_age, remembered, sweep_ended,
    sweep_failed, swept,
};
#[cfg(all(feature = "metrics", feature = "events"))]
pub(crate) use facade::{
    events_asked, events_checked, events_failed, events_failed_open, events_local, events_retried,
};
#[cfg(not(feature = "metrics"))]
pub(crate) use silent::{
    Stopwatch, Timing, attempt_failed, buried, decided, duplicate_age, remembered, sweep_ended,
    sweep_failed, swept,
};
#[cfg(all(not(feature = "metrics"), feature = "events"))]
pub(crate) use silent::{
    events_asked, events_checked, events_failed, events_failed_open, events_local, events_retried,
};
