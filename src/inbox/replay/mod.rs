//! Answers a duplicate with the response of the first handling.
//!
//! [`InboxLayer::replay`](super::InboxLayer::replay) keeps the response of a handler beside the claim,
//! in the same transaction, for as long as the claim is recognised. A duplicate then gets it again:
//!
//! ```
//! use sqlx::SqliteConnection;
//! use tower::{Service, ServiceBuilder, ServiceExt};
//! use tower_inbox::{
//!     BoxError, InboxLayer,
//!     inbox::{Received, SqliteStore, replay::{Json, Replay}},
//! };
//!
//! async fn charge(received: Received<u64, SqliteConnection>) -> Result<String, BoxError> {
//!     Ok(format!("receipt of {} cents", received.message))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! # let store = SqliteStore::in_memory().await?;
//! # store.schema().up().await?;
//! let inbox = InboxLayer::new("billing", store).dedup_by(|cents: &u64| *cents);
//! let mut service = ServiceBuilder::new().layer(inbox.replay(Json)).service_fn(charge);
//!
//! let receipt = "receipt of 250 cents".to_owned();
//! assert_eq!(service.ready().await?.call(250).await?, Replay::Handled(receipt.clone()));
//! assert_eq!(service.ready().await?.call(250).await?, Replay::Replayed(receipt));
//! # Ok(())
//! # }
//! ```
//!
//! # What is not promised
//!
//! A response is kept only for what was handled through a replaying layer. A message that another
//! stack of the same consumer handled, or whose response was too large and
//! [forgotten](Oversized::Forget), is [`Replay::Duplicate`].
//!
//! # What it costs
//!
//! One more statement in the transaction and the response's bytes for each message, and a read for
//! each duplicate.

mod codec;
mod ending;
mod layer;
mod outcome;
mod service;

pub use codec::{Codec, Json};
pub use ending::{Oversized, Replaying};
pub use layer::ReplayLayer;
pub use outcome::Replay;
pub use service::ReplayInbox;
