#![doc = include_str!("docs/crate.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(missing_docs)]

pub mod error;
#[cfg(feature = "events")]
pub mod events;
pub mod hook;
pub mod inbox;
pub mod key;
pub mod lines;
mod outcome;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "events")]
mod retry;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub mod schema;
#[cfg(feature = "postgres")]
mod sql;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;

#[doc(inline)]
pub use error::BoxError;
#[doc(inline)]
pub use inbox::{Inbox, InboxLayer, Outcome};
#[doc(inline)]
pub use key::Dedup;
#[cfg(feature = "derive")]
#[doc(inline)]
pub use tower_inbox_macros::Dedup;

/// What the derive names; not for others.
#[doc(hidden)]
pub mod __private {
    pub use crate::key::{Dedup, KeyEncoder, KeyField};
}
