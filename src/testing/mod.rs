//! What tests of stores and consumers need (feature `testing`).
//!
//! [`conformance`] holds any store against the contract of
//! [`InboxStore`](crate::inbox::store::InboxStore), a stranger's as well as ours:
//!
//! ```text
//! tower_inbox::conformance!(MyHarness::start().await);
//! ```
//!
//! What not every store need do has macros of its own: `batch_conformance!`, `group_conformance!`, `poison_conformance!` and
//! `record_conformance!`.
//!
//! A backend of events has a suite of its own, `events_conformance!` (feature `events`), which needs
//! an `EventHarness`.

pub mod conformance;
#[cfg(feature = "events")]
mod event_harness;
mod harness;

pub use crate::inbox::store::Clock;
#[cfg(feature = "events")]
pub use event_harness::EventHarness;
pub use harness::Harness;
