use std::sync::Arc;

use xxhash_rust::xxh64::xxh64;

use super::{InboxKey, Secret, digests::xxh64_and_siphash};

/// Turns canonical bytes into an [`InboxKey`].
///
/// # Contract
///
/// A pure function of its arguments and of the hasher's own configuration, the same in every process
/// that shares a consumer. The store remembers the key of a fixed probe for each consumer and
/// refuses a hasher that gives another one.
pub trait KeyHasher: Send + Sync {
    /// Hashes the canonical bytes of one message.
    fn key(&self, canonical: &[u8], secret: &Secret) -> InboxKey;
}

/// xxHash64 in the first eight bytes, SipHash-2-4 under the [`Secret`] in the second. The default.
///
/// xxHash64 alone is not enough: with a billion keys in a window two of them collide with a chance
/// of 2.7 % and a message is lost, and a colliding message can be constructed in microseconds. The
/// keyed half makes it a 128-bit key that a sender cannot aim at.
///
/// Sources: [xxHash specification](https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md),
/// [SipHash](https://www.aumasson.jp/siphash/siphash.pdf). Both halves are big-endian.
#[derive(Debug, Clone, Copy, Default)]
pub struct Xxh64Keyed;

impl KeyHasher for Xxh64Keyed {
    #[inline]
    fn key(&self, canonical: &[u8], secret: &Secret) -> InboxKey {
        let (open, keyed) = xxh64_and_siphash(canonical, secret.as_bytes());
        InboxKey::from_bytes(((u128::from(open) << 64) | u128::from(keyed)).to_be_bytes())
    }
}

/// xxHash64 in the first eight bytes, zeros in the second, for a table that other systems fill the
/// same way.
///
/// # Collisions
///
/// This is a 64-bit key. Whoever can guess the fields of a message can send another one with the
/// same key first, and the real one is dropped as a duplicate. Use it only where every sender is
/// trusted and the number of live keys is far below 10⁸.
#[derive(Debug, Clone, Copy, Default)]
pub struct Xxh64Zeroed {
    order: ByteOrder,
}

/// How [`Xxh64Zeroed`] lays the eight hash bytes out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ByteOrder {
    /// The hash big-endian, as the UUID prints: hash `0x0123456789abcdef` is
    /// `01234567-89ab-cdef-0000-000000000000`.
    #[default]
    BigEndian,
    /// As .NET's `new Guid(byte[])` reads the same big-endian bytes: the first four, the next two
    /// and the next two each reversed, `67452301-ab89-efcd-0000-000000000000`.
    DotNetGuid,
}

impl Xxh64Zeroed {
    /// The big-endian layout.
    pub const fn new() -> Self {
        Self { order: ByteOrder::BigEndian }
    }

    /// Chooses the byte order. Defaults to [`ByteOrder::BigEndian`].
    #[must_use]
    pub const fn byte_order(mut self, order: ByteOrder) -> Self {
        self.order = order;
        self
    }
}

impl KeyHasher for Xxh64Zeroed {
    #[inline]
    fn key(&self, canonical: &[u8], _: &Secret) -> InboxKey {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&xxh64(canonical, 0).to_be_bytes());
        if self.order == ByteOrder::DotNetGuid {
            bytes[..4].reverse();
            bytes[4..6].reverse();
            bytes[6..8].reverse();
        }
        InboxKey::from_bytes(bytes)
    }
}

impl<H: KeyHasher + ?Sized> KeyHasher for Arc<H> {
    fn key(&self, canonical: &[u8], secret: &Secret) -> InboxKey {
        (**self).key(canonical, secret)
    }
}

impl<H: KeyHasher + ?Sized> KeyHasher for Box<H> {
    fn key(&self, canonical: &[u8], secret: &Secret) -> InboxKey {
        (**self).key(canonical, secret)
    }
}

const _: fn(&dyn KeyHasher) = |_| {};
