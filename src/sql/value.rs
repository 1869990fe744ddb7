use std::fmt::{self, Write as _};

use uuid::Uuid;

use crate::key::InboxKey;

/// A value as SQL, and its type.
#[derive(Debug)]
pub(crate) struct Value {
    pub(super) sql: String,
    pub(super) kind: &'static str,
    /// Whether it stands in the text of the prepared statement.
    pub(super) fixed: bool,
}

impl Value {
    fn new(sql: impl Into<String>, kind: &'static str) -> Self {
        Self { sql: sql.into(), kind, fixed: false }
    }

    /// Bytes of any kind as an array of texts, to be read with `decode(…, 'hex')`. An array of `bytea`
    /// has backslashes in it, which a setting of the session may double.
    #[cfg_attr(not(feature = "events"), allow(dead_code))]
    pub(crate) fn hex_list<'a>(all: impl Iterator<Item = &'a [u8]>) -> Self {
        let quoted: Vec<String> = all.map(|bytes| format!("\"{}\"", hex(bytes))).collect();
        Self::new(list(&quoted), "text[]")
    }

    pub(super) fn cast(&self) -> String {
        let Self { sql, kind, .. } = self;
        format!("cast({sql} as {kind})")
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::new(yes.to_string(), "bool")
    }
}

impl From<i16> for Value {
    fn from(number: i16) -> Self {
        Self::new(number.to_string(), "int2")
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::new(number.to_string(), "int4")
    }
}

impl From<Option<i32>> for Value {
    fn from(number: Option<i32>) -> Self {
        Self::new(number.map_or("null".into(), |number| number.to_string()), "int4")
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::new(number.to_string(), "int8")
    }
}

impl From<InboxKey> for Value {
    fn from(key: InboxKey) -> Self {
        Self::new(format!("'{key}'"), "uuid")
    }
}

impl From<&[InboxKey]> for Value {
    fn from(keys: &[InboxKey]) -> Self {
        Self::new(list(keys), "uuid[]")
    }
}

impl From<&[Uuid]> for Value {
    fn from(ids: &[Uuid]) -> Self {
        Self::new(list(ids), "uuid[]")
    }
}

impl From<&[i64]> for Value {
    fn from(numbers: &[i64]) -> Self {
        Self::new(list(numbers), "int8[]")
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::new(number.map_or("null".into(), |number| number.to_string()), "int8")
    }
}

impl From<Option<Uuid>> for Value {
    fn from(id: Option<Uuid>) -> Self {
        Self::new(id.map_or("null".into(), |id| format!("'{id}'")), "uuid")
    }
}

impl From<Option<InboxKey>> for Value {
    fn from(key: Option<InboxKey>) -> Self {
        key.map_or_else(|| Self::new("null", "uuid"), Self::from)
    }
}

impl From<Option<f64>> for Value {
    fn from(number: Option<f64>) -> Self {
        Self::new(number.map_or("null".into(), |number| number.to_string()), "float8")
    }
}

impl From<&str> for Value {
    /// Hexadecimal, so that no setting of the session changes what a quote or a backslash means.
    fn from(text: &str) -> Self {
        let hex = hex(text.as_bytes());
        Self::new(format!("convert_from(decode('{hex}','hex'),'UTF8')"), "text")
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        text.map_or_else(|| Self::new("null", "text"), Self::from)
    }
}

impl From<Option<&[u8]>> for Value {
    fn from(bytes: Option<&[u8]>) -> Self {
        let sql =
            bytes.map_or("null".to_owned(), |bytes| format!("decode('{}','hex')", hex(bytes)));
        Self::new(sql, "bytea")
    }
}

fn list(values: &[impl fmt::Display]) -> String {
    let mut text =
        String::with_capacity(values.len() * "00000000-0000-0000-0000-000000000000,".len());
    for (place, value) in values.iter().enumerate() {
        let before = if place == 0 { "'{" } else { "," };
        write!(text, "{before}{value}").expect("a string takes everything");
    }
    text + if values.is_empty() { "'{}'" } else { "}'" }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let digit = |half: u8| char::from_digit(half.into(), 16).expect("half a byte is a digit");
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_literals_of_arrays() {
        let key = InboxKey::from_bytes([7; 16]);
        let keys = Value::from(&[key, key][..]);
        assert_eq!((keys.sql, keys.kind), (format!("'{{{key},{key}}}'"), "uuid[]"));
        let numbers = Value::from(&[1_i64, -2][..]);
        assert_eq!((&*numbers.sql, numbers.kind), ("'{1,-2}'", "int8[]"));
        assert_eq!(Value::from(&[0_i64; 0][..]).sql, "'{}'");
        let texts = Value::hex_list([b"\x00\xff".as_slice(), b""].into_iter());
        assert_eq!((&*texts.sql, texts.kind), (r#"'{"00ff",""}'"#, "text[]"));
    }
}
