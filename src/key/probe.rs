use super::{InboxKey, KeyEncoder, KeyHasher, Secret};

/// The key that a way of making keys gives to a fixed message: equal keys, equal ways.
///
/// A store keeps it with each consumer, so that a hash function, a layout or a secret that changed is
/// found out before redeliveries are taken for new messages.
pub fn probe(hasher: &dyn KeyHasher, secret: &Secret) -> InboxKey {
    let mut encoder = KeyEncoder::new("tower-inbox");
    encoder.field("probe").field(&1);
    hasher.key(encoder.finish().as_bytes(), secret)
}
