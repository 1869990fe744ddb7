use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use uuid::Uuid;

/// Names one claim, so that nobody else can confirm or release it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClaimToken([u8; 16]);

impl ClaimToken {
    /// Takes the bytes as they are; for tests of backends.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, as a backend keeps them.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for ClaimToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClaimToken({:032x})", u128::from_be_bytes(self.0))
    }
}

/// Makes tokens that nobody else makes: eight random bytes for the maker, eight that count.
#[derive(Debug)]
pub(super) struct Tokens {
    maker: [u8; 8],
    next: AtomicU64,
}

impl Tokens {
    pub(super) fn new() -> Self {
        let random = Uuid::new_v4().into_bytes();
        let maker = random[8..].try_into().expect("sixteen less eight bytes");
        Self { maker, next: AtomicU64::new(0) }
    }

    pub(super) fn next(&self) -> ClaimToken {
        let mut token = [0; 16];
        token[..8].copy_from_slice(&self.maker);
        token[8..].copy_from_slice(&self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        ClaimToken(token)
    }
}
