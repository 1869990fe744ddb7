//! Many messages in one transaction, and each with its own outcome.

mod future;
mod item;
mod layer;
mod service;
mod work;

pub use future::BatchFuture;
pub use layer::BatchInboxLayer;
pub use service::BatchInbox;
