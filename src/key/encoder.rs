use std::fmt;

use super::{KeyField, encoding};

/// Collects the chosen fields of one message in the [canonical encoding](super::encoding).
///
/// Up to 160 bytes stay on the stack; a longer encoding allocates.
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
    inline: [u8; INLINE],
    len: usize,
    /// All bytes, once they no longer fit inline; empty until then.
    spilled: Vec<u8>,
    present: bool,
}

/// The finished canonical bytes of one message.
#[derive(Clone)]
pub struct Canonical(KeyEncoder);

impl KeyEncoder {
    /// Starts an encoding for a kind of message; the empty kind is a kind like any other.
    #[inline]
    pub fn new(kind: &str) -> Self {
        let mut encoder = Self { inline: [0; INLINE], len: 0, spilled: Vec::new(), present: false };
        encoder.tagged(encoding::VERSION, kind.len() as u64);
        encoder.append(kind.as_bytes());
        encoder.present = false;
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
        self.append(&[encoding::NONE]);
        self
    }

    /// Appends a boolean.
    #[inline]
    pub fn boolean(&mut self, value: bool) -> &mut Self {
        self.present = true;
        self.append(&[if value { encoding::TRUE } else { encoding::FALSE }]);
        self
    }

    /// Appends an integer that is not negative.
    #[inline]
    pub fn natural(&mut self, value: u64) -> &mut Self {
        self.tagged(encoding::NATURAL, value)
    }

    /// Appends an integer of either sign.
    #[inline]
    pub fn integer(&mut self, value: i64) -> &mut Self {
        match u64::try_from(value) {
            Ok(value) => self.natural(value),
            Err(_) => self.tagged(encoding::NEGATIVE, value.cast_unsigned()),
        }
    }

    /// Appends an integer that is not negative, of any size.
    #[inline]
    pub fn big_natural(&mut self, value: u128) -> &mut Self {
        match u64::try_from(value) {
            Ok(value) => self.natural(value),
            Err(_) => self.big(encoding::BIG_NATURAL, value),
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
            self.big(encoding::BIG_NEGATIVE, value.cast_unsigned())
        }
    }

    /// Appends text.
    #[inline]
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.tagged(encoding::TEXT, value.len() as u64);
        self.append(value.as_bytes());
        self
    }

    /// Appends bytes that are not text.
    #[inline]
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.tagged(encoding::BYTES, value.len() as u64);
        self.append(value);
        self
    }

    /// Opens a list of exactly `len` items; the caller appends them.
    #[inline]
    pub fn list(&mut self, len: usize) -> &mut Self {
        self.tagged(encoding::LIST, len as u64)
    }

    /// Opens a map of exactly `len` entries; the caller appends key and value of each, sorted by
    /// the key's bytes and without repeating a key.
    #[inline]
    pub fn map(&mut self, len: usize) -> &mut Self {
        self.tagged(encoding::MAP, len as u64)
    }

    /// Ends the encoding.
    #[inline]
    pub fn finish(self) -> Canonical {
        Canonical(self)
    }

    #[inline]
    fn tagged(&mut self, tag: u8, value: u64) -> &mut Self {
        let mut item = [tag; 1 + size_of::<u64>()];
        item[1..].copy_from_slice(&value.to_le_bytes());
        self.present = true;
        self.append(&item);
        self
    }

    #[inline]
    fn big(&mut self, tag: u8, value: u128) -> &mut Self {
        let mut item = [tag; 1 + size_of::<u128>()];
        item[1..].copy_from_slice(&value.to_le_bytes());
        self.present = true;
        self.append(&item);
        self
    }

    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        match self.inline.get_mut(self.len..end) {
            Some(room) => room.copy_from_slice(bytes),
            None => self.spill(bytes),
        }
        self.len = end;
    }

    /// `len` counts on, so that nothing goes inline again.
    #[cold]
    fn spill(&mut self, bytes: &[u8]) {
        if self.spilled.is_empty() {
            self.spilled.reserve(2 * (self.len + bytes.len()));
            self.spilled.extend_from_slice(&self.inline[..self.len]);
        }
        self.spilled.extend_from_slice(bytes);
    }
}

impl Canonical {
    /// Encodes in place: moving the finished bytes would take longer than writing them did.
    #[inline]
    pub(super) fn write(kind: &str, fields: impl FnOnce(&mut KeyEncoder)) -> Self {
        let mut canonical = Self(KeyEncoder::new(kind));
        fields(&mut canonical.0);
        canonical
    }

    /// The bytes to hash.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match self.0.inline.get(..self.0.len) {
            Some(bytes) => bytes,
            None => &self.0.spilled,
        }
    }

    /// Whether every chosen field was none, so that there is nothing to recognise the message by.
    ///
    /// All such messages would share one key, and all but the first would vanish as duplicates.
    #[inline]
    pub fn is_absent(&self) -> bool {
        !self.0.present
    }
}

impl fmt::Debug for KeyEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyEncoder").field("len", &self.len).finish_non_exhaustive()
    }
}

impl fmt::Debug for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canonical").field("len", &self.0.len).finish_non_exhaustive()
    }
}

// Two fields of common lengths and a kind are below 100 bytes. Longer costs every key: the bytes are
// zeroed, and moved with the encoder.
const INLINE: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoding_that_outgrows_the_stack_keeps_its_bytes() {
        for len in 0..3 * INLINE {
            let text = "x".repeat(len);
            let mut encoder = KeyEncoder::new("k");
            encoder.text(&text).boolean(true).text(&text).natural(7);

            let run =
                |tag| [[tag].as_slice(), &(len as u64).to_le_bytes(), text.as_bytes()].concat();
            let expected = [
                &[encoding::VERSION, 1, 0, 0, 0, 0, 0, 0, 0, b'k'],
                run(encoding::TEXT).as_slice(),
                &[encoding::TRUE],
                &run(encoding::TEXT),
                &[encoding::NATURAL, 7, 0, 0, 0, 0, 0, 0, 0],
            ]
            .concat();
            assert_eq!(encoder.finish().as_bytes(), expected, "{len}");
        }
    }
}
