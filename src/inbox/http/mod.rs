#![doc = include_str!("../../docs/http.md")]

mod body;
mod codec;
mod config;
mod delivery;
mod error;
mod future;
mod handler;
mod key;
mod keyed;
mod layer;
mod open;
mod problem;
mod service;
mod tx;

pub use body::IdempotencyBody;
pub use error::RolledBack;
pub use future::ResponseFuture;
pub use key::IdempotencyKey;
pub use keyed::ByHeader;
pub use layer::IdempotencyLayer;
pub use open::Open;
pub use service::Idempotency;
pub use tx::{IdempotentTx, IdempotentTxGuard, TransactionTaken};
