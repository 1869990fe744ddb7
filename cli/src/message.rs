use tower_inbox::{
    BoxError,
    key::{
        Canonical,
        json::{JsonFields, JsonKeyError},
    },
    lines::{BadLine, Line},
};

/// A line with the fields that it is recognised by.
#[derive(Debug)]
pub(crate) struct Message {
    /// Where in the stream; 0 for one that comes out of a requeued letter.
    pub(crate) number: u64,
    /// The line, exactly as it came.
    pub(crate) text: String,
    pub(crate) canonical: Canonical,
}

impl Message {
    /// Takes the key out of a line. One that has none goes no further.
    pub(crate) fn new(line: Line, fields: &JsonFields, kind: &str) -> Result<Self, BadLine> {
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

    /// Reads the line that a letter kept.
    pub(crate) fn from_letter(
        payload: Vec<u8>,
        fields: &JsonFields,
        kind: &str,
    ) -> Result<Self, BoxError> {
        let line = Line::new(0, String::from_utf8(payload)?);
        Self::new(line, fields, kind).map_err(|bad| bad.reason.into())
    }
}
