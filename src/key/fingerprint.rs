use std::fmt;

use sha2::{Digest, Sha256};

/// Tells two bodies under one key apart: the first 128 bits of a SHA-256.
///
/// An [`InboxKey`](super::InboxKey) says that it is *the same message again*; a fingerprint says
/// whether it also *says the same*. It is compared for equality only. Finding another body for a given
/// fingerprint takes 2^128 tries; two bodies of one's own choosing that share one take 2^64.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// Takes the fingerprint of a body.
    ///
    /// ```
    /// use tower_inbox::key::Fingerprint;
    ///
    /// assert_eq!(Fingerprint::of(b"{}"), Fingerprint::of(b"{}"));
    /// assert_ne!(Fingerprint::of(b"{}"), Fingerprint::of(b"{ }"));
    /// ```
    pub fn of(body: &[u8]) -> Self {
        Self::half(&Sha256::digest(body).into())
    }

    /// Takes the fingerprint of several parts, each with its length in front of it: what moves from
    /// one part to the next makes another fingerprint.
    ///
    /// ```
    /// use tower_inbox::key::Fingerprint;
    ///
    /// let parts = |first: &str, second: &str| {
    ///     Fingerprint::of_parts([first.as_bytes(), second.as_bytes()])
    /// };
    /// assert_ne!(parts("ab", "c"), parts("a", "bc"));
    /// ```
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self::half(&hash.finalize().into())
    }

    /// Takes bytes that a store kept.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a store to keep.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn half(digest: &[u8; 32]) -> Self {
        let (half, _) = digest.split_first_chunk().expect("a SHA-256 has 32 bytes");
        Self(*half)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({:032x})", u128::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// <https://csrc.nist.gov/projects/cryptographic-standards-and-guidelines/example-values>
    #[test]
    fn it_is_the_beginning_of_the_published_digest() {
        let bytes = [
            0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae,
            0x22, 0x23,
        ];
        assert_eq!(Fingerprint::of(b"abc"), Fingerprint::from_bytes(bytes));
    }
}
