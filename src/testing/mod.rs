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

pub mod conformance;
mod harness;

pub use crate::inbox::store::Clock;
pub use harness::Harness;
