//! Keys out of JSON, for messages that have no Rust type: the command line and schemaless consumers.

use std::{fmt, str::FromStr};

use serde_json::Value;

use super::{Canonical, KeyEncoder};

/// Which fields of a JSON object make the key, as written after `--key`.
///
/// A comma-separated list of dotted paths: `order_id,customer.email`. A numeric segment indexes an
/// array (`items.0.sku`), a backslash takes the next character as it is (`odd\.name`). A path that
/// ends in `?` may be missing or null and then counts as none; any other one must be there. The
/// single path `.` is the whole text.
///
/// For the same kind and fields the key equals that of a type with the derive:
///
/// ```
/// use tower_inbox::key::{KeyEncoder, json::JsonFields};
///
/// let fields: JsonFields = "order_id,email".parse()?;
/// let line = r#"{"email": "a@example.com", "order_id": 7, "amount": 100}"#;
///
/// let mut typed = KeyEncoder::new("OrderPlaced");
/// typed.field(&7_u8).field("a@example.com");
/// assert_eq!(fields.encode("OrderPlaced", line)?.as_bytes(), typed.finish().as_bytes());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonFields(Choice);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    Whole,
    Paths(Vec<Path>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Path {
    text: String,
    segments: Vec<String>,
    optional: bool,
}

impl JsonFields {
    /// Encodes the chosen fields of one JSON text.
    ///
    /// # Errors
    ///
    /// The text is not JSON, a field is missing or null without being optional, or a value in it is
    /// not an integer (a float, or an integer that does not fit 64 bits; send those as text).
    pub fn encode(&self, kind: &str, text: &str) -> Result<Canonical, JsonKeyError> {
        let root: Value = serde_json::from_str(text).map_err(JsonKeyError::Malformed)?;
        let mut encoder = KeyEncoder::new(kind);
        match &self.0 {
            Choice::Whole => {
                encoder.text(text.trim());
            }
            Choice::Paths(paths) => {
                for path in paths {
                    match path.find(&root) {
                        Some(Value::Null) if !path.optional => {
                            return Err(JsonKeyError::Null { path: path.text.clone() });
                        }
                        Some(value) => encode(value, path, &mut encoder)?,
                        None if path.optional => {
                            encoder.none();
                        }
                        None => return Err(JsonKeyError::Missing { path: path.text.clone() }),
                    }
                }
            }
        }
        Ok(encoder.finish())
    }
}

impl FromStr for JsonFields {
    type Err = ParseJsonFieldsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "." {
            return Ok(Self(Choice::Whole));
        }
        let paths = split(text, ',').map(Path::parse).collect::<Result<Vec<_>, _>>()?;
        for (index, path) in paths.iter().enumerate() {
            if paths[..index].iter().any(|earlier| earlier.segments == path.segments) {
                return Err(ParseJsonFieldsError(format!("`{}` is chosen twice", path.text)));
            }
        }
        Ok(Self(Choice::Paths(paths)))
    }
}

impl Path {
    fn parse(text: &str) -> Result<Self, ParseJsonFieldsError> {
        let text = text.trim();
        let (name, optional) = match text.strip_suffix('?') {
            // An odd number of backslashes escapes it.
            Some(name) if escapes_before_end(name).is_multiple_of(2) => (name, true),
            _ => (text, false),
        };
        let segments: Vec<String> = split(name, '.').map(unescape).collect();
        if segments.iter().any(String::is_empty) {
            return Err(ParseJsonFieldsError(format!(
                "`{text}` has an empty part; write fields like order_id,customer.email, or `.` \
                 alone for the whole line"
            )));
        }
        Ok(Self { text: name.to_owned(), segments, optional })
    }

    fn find<'v>(&self, root: &'v Value) -> Option<&'v Value> {
        self.segments.iter().try_fold(root, |value, segment| match value {
            Value::Object(fields) => fields.get(segment),
            Value::Array(items) => segment.parse::<usize>().ok().and_then(|at| items.get(at)),
            _ => None,
        })
    }
}

fn encode(value: &Value, path: &Path, encoder: &mut KeyEncoder) -> Result<(), JsonKeyError> {
    match value {
        Value::Null => {
            encoder.none();
        }
        Value::Bool(value) => {
            encoder.boolean(*value);
        }
        Value::Number(number) => {
            if let Some(value) = number.as_u64() {
                encoder.natural(value);
            } else if let Some(value) = number.as_i64() {
                encoder.integer(value);
            } else {
                let path = path.text.clone();
                return Err(JsonKeyError::NotAnInteger { path, value: number.to_string() });
            }
        }
        Value::String(value) => {
            encoder.text(value);
        }
        Value::Array(items) => {
            encoder.list(items.len());
            for item in items {
                encode(item, path, encoder)?;
            }
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            encoder.map(fields.len());
            for (name, value) in fields {
                encoder.text(name);
                encode(value, path, encoder)?;
            }
        }
    }
    Ok(())
}

/// Splits at a character that no backslash precedes; escapes stay in the parts.
fn split(text: &str, at: char) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    text.split(move |c: char| {
        let splits = c == at && !escaped;
        escaped = c == '\\' && !escaped;
        splits
    })
}

fn escapes_before_end(text: &str) -> usize {
    text.len() - text.trim_end_matches('\\').len()
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    plain
}

/// A text after `--key` that chooses no fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseJsonFieldsError(String);

impl fmt::Display for ParseJsonFieldsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ParseJsonFieldsError {}

/// Why a JSON text has no key.
#[derive(Debug)]
#[non_exhaustive]
pub enum JsonKeyError {
    /// The text is not JSON.
    Malformed(serde_json::Error),
    /// A chosen field is not there.
    Missing {
        /// The field, as written.
        path: String,
    },
    /// A chosen field is null.
    Null {
        /// The field, as written.
        path: String,
    },
    /// A chosen field is, or contains, a number that is not a 64-bit integer.
    NotAnInteger {
        /// The field, as written.
        path: String,
        /// The number.
        value: String,
    },
}

impl fmt::Display for JsonKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(_) => f.write_str("not valid JSON"),
            Self::Missing { path } => {
                write!(f, "key field `{path}` is missing; if it may be, write `{path}?`")
            }
            Self::Null { path } => {
                write!(f, "key field `{path}` is null; if it may be, write `{path}?`")
            }
            Self::NotAnInteger { path, value } => write!(
                f,
                "key field `{path}` holds {value}, which is a float or does not fit 64 bits; equal \
                 floats need not compare equal, so send it as an integer or as text"
            ),
        }
    }
}

impl std::error::Error for JsonKeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Malformed(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_reach_into_objects_and_arrays() {
        let fields: JsonFields = r"a.b,items.1.sku,odd\.name,gone?".parse().unwrap();
        let line = r#"{"a":{"b":1},"items":[0,{"sku":"x"}],"odd.name":true}"#;
        let mut by_hand = KeyEncoder::new("");
        by_hand.field(&1).field("x").field(&true).none();
        assert_eq!(fields.encode("", line).unwrap().as_bytes(), by_hand.finish().as_bytes());
    }

    #[test]
    fn a_question_mark_can_be_escaped() {
        let encode = |fields: &str, line| {
            let fields: JsonFields = fields.parse().unwrap();
            fields.encode("", line).map(|encoded| encoded.as_bytes().to_vec())
        };
        assert!(encode(r"why\?", r#"{"why\\?":1}"#).is_err(), "`why?` is not there");
        assert!(encode(r"why\?", r#"{"why?":1}"#).is_ok());
        assert!(encode(r"why\\?", "{}").is_ok(), "`why\\` may be missing");
    }

    #[test]
    fn a_missing_null_or_float_field_is_named() {
        let fields: JsonFields = "order_id".parse().unwrap();
        let message = |line| fields.encode("", line).unwrap_err().to_string();
        assert!(message(r#"{"other":1}"#).contains("`order_id` is missing"));
        assert!(message(r#"{"order_id":null}"#).contains("`order_id` is null"));
        assert!(message(r#"{"order_id":1.5}"#).contains("holds 1.5"));
        assert!(message(r#"{"order_id":99999999999999999999}"#).contains("does not fit 64 bits"));
        assert!(message("[1]").contains("`order_id` is missing"));
        assert!(message("nonsense").contains("not valid JSON"));
    }

    #[test]
    fn object_fields_are_sorted() {
        let fields: JsonFields = "a".parse().unwrap();
        let one = fields.encode("", r#"{"a":{"x":1,"y":[null]}}"#).unwrap();
        let other = fields.encode("", r#"{"a":{"y":[null],"x":1}}"#).unwrap();
        assert_eq!(one.as_bytes(), other.as_bytes());
    }

    #[test]
    fn the_whole_line_is_text() {
        let fields: JsonFields = ".".parse().unwrap();
        let mut by_hand = KeyEncoder::new("");
        by_hand.text(r#"{"a":1.5}"#);
        let encoded = fields.encode("", " {\"a\":1.5}\r\n").unwrap();
        assert_eq!(encoded.as_bytes(), by_hand.finish().as_bytes());
    }

    #[test]
    fn empty_and_repeated_paths_are_refused() {
        for text in ["", "a,,b", "a.", ".a", "a,a", "a,a?", "?"] {
            assert!(text.parse::<JsonFields>().is_err(), "{text:?}");
        }
    }
}
