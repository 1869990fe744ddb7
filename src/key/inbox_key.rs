use std::{fmt, str::FromStr};

use uuid::Uuid;

/// The 128 bits under which a store claims a message; a UUID to databases and people.
///
/// Not an RFC 9562 UUID of any version: all 128 bits are hash. The default
/// [`Xxh64Keyed`](super::Xxh64Keyed) puts xxHash64 into the first eight bytes and a keyed hash into
/// the second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboxKey([u8; 16]);

impl InboxKey {
    /// Takes the bytes in the order a UUID prints them.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes in the order a UUID prints them.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for InboxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).hyphenated().fmt(f)
    }
}

impl fmt::Debug for InboxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InboxKey({self})")
    }
}

impl FromStr for InboxKey {
    type Err = ParseInboxKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::from_str(text).map(Self::from).map_err(ParseInboxKeyError)
    }
}

impl From<Uuid> for InboxKey {
    fn from(uuid: Uuid) -> Self {
        Self(uuid.into_bytes())
    }
}

impl From<InboxKey> for Uuid {
    fn from(key: InboxKey) -> Self {
        Self::from_bytes(key.0)
    }
}

/// Text that is not an [`InboxKey`].
#[derive(Debug, Clone)]
pub struct ParseInboxKeyError(uuid::Error);

impl fmt::Display for ParseInboxKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an inbox key is written like 67e55044-10b1-426f-9247-bb680e5fe0c8")
    }
}

impl std::error::Error for ParseInboxKeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}
