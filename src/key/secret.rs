use std::fmt;

/// The sixteen secret bytes that key the second half of an [`InboxKey`](super::InboxKey).
///
/// Made once by the migration and kept in the database, so that all processes agree; see
/// [`InboxLayer::secret`](crate::inbox::InboxLayer::secret) for bringing your own. It keeps a sender
/// from constructing a message whose key equals somebody else's. It is not printed by `Debug`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret([u8; 16]);

impl Secret {
    /// Takes the bytes as they are.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a [`KeyHasher`](super::KeyHasher) of your own.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
