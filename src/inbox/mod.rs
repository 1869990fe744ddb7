#![doc = include_str!("../docs/inbox.md")]

mod admit;
mod batch;
mod config;
mod ending;
mod error;
mod future;
mod group;
mod handlers;
#[cfg(feature = "http")]
pub mod http;
mod key_source;
mod known;
mod layer;
mod lease;
mod memory;
mod poison;
mod received;
pub mod redelivery;
pub mod replay;
pub mod retention;
mod service;
mod shutdown;
mod span;
pub mod store;
mod tx;
mod window;

pub use crate::outcome::Outcome;
pub use admit::{InLease, InTransaction, Mode};
pub use batch::{BatchFuture, BatchInbox, BatchInboxLayer};
pub use config::WithoutKey;
pub use ending::{Ending, Plain};
pub use error::{
    DeadLettered, InFlight, InnerInboxFailed, KeyAbsent, KeyReused, LeaseLost, ResponseTooLarge,
    TransactionNotReturned,
};
pub use future::ResponseFuture;
pub use group::{DriverGone, GroupDriver, GroupFuture, GroupInbox};
pub use key_source::{ByEncoder, ByFields, Derived, KeySource, WithFingerprint, WithPayload};
pub use layer::InboxLayer;
pub use lease::Lease;
pub use poison::DeadLetterPolicy;
pub use received::{Leased, Received};
pub use service::Inbox;
#[cfg(feature = "postgres")]
#[doc(inline)]
pub use store::postgres::{PgBucketStore, PgStore};
#[cfg(feature = "sqlite")]
#[doc(inline)]
pub use store::sqlite::SqliteStore;
pub use tx::InboxTx;
pub use window::{InvalidWindow, Window};
