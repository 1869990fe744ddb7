use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::key::Secret;

/// The keyed 128-bit hash of an event's id, which stands for it where ids are compact.
///
/// [SipHash-2-4-128](https://www.aumasson.jp/siphash/siphash.pdf) under a secret that a sender does not
/// know, so nobody can make an event that passes for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signature {
    /// The upper half: chooses where an event is kept.
    pub high: u64,
    /// The lower half: what is kept.
    pub low: u64,
}

impl Signature {
    /// Signs an id.
    pub fn of(id: &[u8], secret: &Secret) -> Self {
        let mut hasher = SipHasher24::new_with_key(secret.as_bytes());
        hasher.write(id);
        let hash = hasher.finish128();
        Self { high: hash.h1, low: hash.h2 }
    }

    /// Sixteen bytes, big-endian.
    pub const fn to_bytes(self) -> [u8; 16] {
        (((self.high as u128) << 64) | self.low as u128).to_be_bytes()
    }
}

/// A new secret, from the system's random numbers.
pub(super) fn new_secret() -> Secret {
    // A version-4 UUID has six fixed bits; a digest of two of them has none.
    use sha2::{Digest, Sha256};
    let mut digest = Sha256::new();
    for _ in 0..2 {
        digest.update(uuid::Uuid::new_v4().as_bytes());
    }
    let digest = digest.finalize();
    Secret::from_bytes(digest[..16].try_into().expect("sixteen of thirty-two bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SipHash-2-4-128` of 15 bytes 00 … 0e under the key 00 … 0f, from the vectors of the reference
    /// implementation (github.com/veorq/SipHash, `vectors.h`).
    #[test]
    fn the_hash_is_the_one_that_is_documented() {
        let key: [u8; 16] = std::array::from_fn(|at| at as u8);
        let id: [u8; 15] = std::array::from_fn(|at| at as u8);
        let Signature { high, low } = Signature::of(&id, &Secret::from_bytes(key));
        let bytes = [high.to_le_bytes(), low.to_le_bytes()].concat();
        assert_eq!(
            bytes,
            [
                0x54, 0x93, 0xe9, 0x99, 0x33, 0xb0, 0xa8, 0x11, 0x7e, 0x08, 0xec, 0x0f, 0x97, 0xcf,
                0xc3, 0xd9
            ]
        );
    }

    #[test]
    fn secrets_differ() {
        assert_ne!(new_secret(), new_secret());
    }
}
