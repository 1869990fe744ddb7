/// One line of a stream, without what ended it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// Counted from 1, blank lines included, as an editor shows it.
    pub number: u64,
    /// The text, exactly as it came.
    pub text: String,
}

/// A line that is of no use, and why.
///
/// What a [`LineReader`](super::LineReader) gives for one that is not text or is too long; a caller
/// makes one for text that it cannot use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BadLine {
    /// Counted from 1, blank lines included, as an editor shows it.
    pub number: u64,
    /// Why it is of no use, for people.
    pub reason: String,
    /// The bytes, exactly as they came, or their beginning.
    pub raw: Vec<u8>,
    /// Whether `raw` is only the beginning.
    pub truncated: bool,
}

impl Line {
    /// Makes a line.
    pub fn new(number: u64, text: impl Into<String>) -> Self {
        Self { number, text: text.into() }
    }

    /// Gives the line up, for a reason.
    pub fn into_bad(self, reason: impl Into<String>) -> BadLine {
        BadLine::new(self.number, reason, self.text)
    }
}

impl BadLine {
    /// Makes a bad line of all its bytes.
    pub fn new(number: u64, reason: impl Into<String>, raw: impl Into<Vec<u8>>) -> Self {
        Self { number, reason: reason.into(), raw: raw.into(), truncated: false }
    }

    /// Says that `raw` is only the beginning of the line.
    #[must_use]
    pub fn truncated(mut self) -> Self {
        self.truncated = true;
        self
    }
}
