//! What tests of stores and consumers need (feature `testing`).
//!
//! [`conformance`] holds any store against the contract of
//! [`InboxStore`](crate::inbox::store::InboxStore), a stranger's as well as ours:
//!
//! ```text
//! tower_inbox::conformance!(MyHarness::start().await);
//! ```

pub mod conformance;
mod harness;

pub use crate::inbox::store::Clock;
pub use harness::Harness;
