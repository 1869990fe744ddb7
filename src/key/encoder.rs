use std::fmt;

use smallvec::SmallVec;

use super::{KeyField, encoding};

/// Collects the chosen fields of one message in the [canonical encoding](super::encoding).
///
/// Up to 256 bytes stay on the stack; a longer encoding allocates once or twice.
///
/// ```
/// use tower_inbox::key::KeyEncoder;
///
/// let mut encoder = KeyEncoder::new("OrderPlaced");
/// encoder.field(&7_i64).field("a@example.com");
/// assert!(!encoder.finish().is_absent());
/// ```
#[derive(Clone)]
pub struct KeyEncoder {
    bytes: SmallVec<[u8; INLINE]>,
    present: bool,
}

/// The finished canonical bytes of one message.
#[derive(Clone)]
pub struct Canonical {
    bytes: SmallVec<[u8; INLINE]>,
    present: bool,
}

impl KeyEncoder {
    /// Starts an encoding for a kind of message; the empty kind is a kind like any other.
    #[inline]
    pub fn new(kind: &str) -> Self {
        let mut encoder = Self { bytes: SmallVec::new(), present: false };
        encoder.bytes.push(encoding::VERSION);
        encoder.run(kind.as_bytes());
        encoder
    }

    /// Appends one field. The order of the calls is part of the key.
    #[inline]
    pub fn field<T: KeyField + ?Sized>(&mut self, value: &T) -> &mut Self {
        value.encode(self);
        self
    }

    /// Appends the item for "no value".
    #[inline]
    pub fn none(&mut self) -> &mut Self {
        self.bytes.push(encoding::NONE);
        self
    }

    /// Appends a boolean.
    #[inline]
    pub fn boolean(&mut self, value: bool) -> &mut Self {
        self.present = true;
        self.bytes.push(if value { encoding::TRUE } else { encoding::FALSE });
        self
    }

    /// Appends an integer that is not negative.
    #[inline]
    pub fn natural(&mut self, value: u64) -> &mut Self {
        self.tagged(encoding::NATURAL, &value.to_le_bytes())
    }

    /// Appends an integer of either sign.
    #[inline]
    pub fn integer(&mut self, value: i64) -> &mut Self {
        match u64::try_from(value) {
            Ok(value) => self.natural(value),
            Err(_) => self.tagged(encoding::NEGATIVE, &value.to_le_bytes()),
        }
    }

    /// Appends an integer that is not negative, of any size.
    #[inline]
    pub fn big_natural(&mut self, value: u128) -> &mut Self {
        match u64::try_from(value) {
            Ok(value) => self.natural(value),
            Err(_) => self.tagged(encoding::BIG_NATURAL, &value.to_le_bytes()),
        }
    }

    /// Appends an integer of either sign, of any size.
    #[inline]
    pub fn big_integer(&mut self, value: i128) -> &mut Self {
        if let Ok(value) = i64::try_from(value) {
            self.integer(value)
        } else if let Ok(value) = u128::try_from(value) {
            self.big_natural(value)
        } else {
            self.tagged(encoding::BIG_NEGATIVE, &value.to_le_bytes())
        }
    }

    /// Appends text.
    #[inline]
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.present = true;
        self.bytes.push(encoding::TEXT);
        self.run(value.as_bytes());
        self
    }

    /// Appends bytes that are not text.
    #[inline]
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.present = true;
        self.bytes.push(encoding::BYTES);
        self.run(value);
        self
    }

    /// Opens a list of exactly `len` items; the caller appends them.
    #[inline]
    pub fn list(&mut self, len: usize) -> &mut Self {
        self.tagged(encoding::LIST, &(len as u64).to_le_bytes())
    }

    /// Opens a map of exactly `len` entries; the caller appends key and value of each, sorted by
    /// the key's bytes and without repeating a key.
    #[inline]
    pub fn map(&mut self, len: usize) -> &mut Self {
        self.tagged(encoding::MAP, &(len as u64).to_le_bytes())
    }

    /// Ends the encoding.
    #[inline]
    pub fn finish(self) -> Canonical {
        Canonical { bytes: self.bytes, present: self.present }
    }

    #[inline]
    fn tagged(&mut self, tag: u8, value: &[u8]) -> &mut Self {
        self.present = true;
        self.bytes.push(tag);
        self.bytes.extend_from_slice(value);
        self
    }

    #[inline]
    fn run(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.bytes.extend_from_slice(bytes);
    }
}

impl Canonical {
    /// The bytes to hash.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether every chosen field was none, so that there is nothing to recognise the message by.
    ///
    /// All such messages would share one key, and all but the first would vanish as duplicates.
    #[inline]
    pub fn is_absent(&self) -> bool {
        !self.present
    }
}

impl fmt::Debug for KeyEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyEncoder").field("len", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canonical").field("len", &self.bytes.len()).finish_non_exhaustive()
    }
}

// Two fields of common lengths and a kind are below 100 bytes; three e-mail addresses fit too.
const INLINE: usize = 256;
