use std::sync::Arc;

use tower_inbox::{
    BoxError,
    inbox::KeySource,
    key::{
        Canonical,
        json::{JsonFields, JsonKeyError},
    },
    lines::{BadLine, Line},
};

/// A line with the fields that it is recognised by.
#[derive(Debug)]
pub(super) struct Message {
    /// Where in the stream; 0 for one that comes out of a requeued letter.
    pub(super) number: u64,
    /// The line, exactly as it came.
    pub(super) text: String,
    canonical: Canonical,
}

impl Message {
    /// Takes the key out of a line. One that has none never reaches the inbox.
    pub(super) fn new(line: Line, fields: &JsonFields, kind: &str) -> Result<Self, BadLine> {
        match fields.encode(kind, &line.text) {
            Ok(canonical) if canonical.is_absent() => {
                Err(line
                    .into_bad("there is nothing to recognise it by: every key field is missing"))
            }
            Ok(canonical) => Ok(Self { number: line.number, text: line.text, canonical }),
            Err(JsonKeyError::Malformed(error)) => {
                Err(line.into_bad(format!("not valid JSON: {error}")))
            }
            Err(error) => Err(line.into_bad(error.to_string())),
        }
    }
}

impl Message {
    /// Reads the line that a letter kept.
    pub(super) fn from_letter(
        payload: Vec<u8>,
        fields: &JsonFields,
        kind: &str,
    ) -> Result<Self, BoxError> {
        let line = Line::new(0, String::from_utf8(payload)?);
        Self::new(line, fields, kind).map_err(|bad| bad.reason.into())
    }
}

/// The key that was made when the line was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Carried;

impl KeySource<Arc<Message>> for Carried {
    fn canonical(&self, message: &Arc<Message>) -> Canonical {
        message.canonical.clone()
    }

    fn payload(&self, message: &Arc<Message>) -> Option<Vec<u8>> {
        Some(message.text.clone().into_bytes())
    }
}
