//! From a message to its inbox key; pure, no I/O.
//!
//! A message names the fields that make it *the same message again* ([`Dedup`], usually through the
//! derive). Their values are written into one [canonical encoding](encoding), and a [`KeyHasher`]
//! turns those bytes into the 128-bit [`InboxKey`] that a store claims.
//!
//! ```
//! use tower_inbox::{Dedup, key::{KeyHasher, Secret, Xxh64Keyed, encode}};
//!
//! #[derive(Dedup)]
//! #[dedup_by(order_id, email)]
//! struct OrderPlaced { order_id: i64, email: String, amount: i64 }
//!
//! let first = OrderPlaced { order_id: 7, email: "a@example.com".into(), amount: 100 };
//! let again = OrderPlaced { order_id: 7, email: "a@example.com".into(), amount: 100 };
//!
//! let secret = Secret::from_bytes([7; 16]);
//! let key = |m: &OrderPlaced| Xxh64Keyed.key(encode(m).as_bytes(), &secret);
//! assert_eq!(key(&first), key(&again));
//! ```

mod dedup;
mod digests;
mod encoder;
pub mod encoding;
mod field;
mod fields;
mod fingerprint;
mod hasher;
mod inbox_key;
pub mod json;
mod probe;
mod secret;

pub use dedup::{Dedup, encode};
pub use encoder::{Canonical, KeyEncoder};
pub use field::KeyField;
pub use fields::KeyFields;
pub use fingerprint::Fingerprint;
pub use hasher::{ByteOrder, KeyHasher, Xxh64Keyed, Xxh64Zeroed};
pub use inbox_key::{InboxKey, ParseInboxKeyError};
pub use probe::probe;
pub use secret::Secret;
