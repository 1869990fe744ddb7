use std::{error::Error, fmt, sync::Arc};

use http::HeaderValue;

/// The idempotency key of a request, as the client meant it: without quotes and escapes.
///
/// Among the request's extensions; a handler with effects elsewhere passes it along, so that the
/// other side recognises the request as well.
///
/// Whoever knows a key may ask for the response that was kept under it, so `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(Arc<str>);

impl IdempotencyKey {
    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads a field value: an Item whose value is a String (RFC 9651, 3.3.3), parameters ignored; or
    /// the same without quotes, as many clients send it.
    pub(super) fn parse(value: &HeaderValue) -> Result<Self, MalformedKey> {
        let value = value.as_bytes().trim_ascii();
        let key = match value.strip_prefix(b"\"") {
            Some(value) => {
                let (key, parameters) = string(value)?;
                skip_parameters(parameters)?;
                key
            }
            None => bare(value)?,
        };
        match key.len() {
            0 => Err(MalformedKey::Empty),
            1..=MAX_LENGTH => Ok(Self(key.into())),
            _ => Err(MalformedKey::TooLong),
        }
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyKey").field("len", &self.0.len()).finish_non_exhaustive()
    }
}

/// Why a field value is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MalformedKey {
    Empty,
    TooLong,
    Syntax,
    Repeated,
    Format,
}

impl fmt::Display for MalformedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("The key is empty."),
            Self::TooLong => write!(f, "The key is longer than {MAX_LENGTH} characters."),
            Self::Syntax => f.write_str("The field is not one quoted string of printable ASCII."),
            Self::Repeated => f.write_str("The field is there more than once."),
            Self::Format => f.write_str("The key does not have the documented format."),
        }
    }
}

impl Error for MalformedKey {}

/// The content of a string whose opening quote was read, and what follows its closing one.
fn string(value: &[u8]) -> Result<(String, &[u8]), MalformedKey> {
    let mut content = String::new();
    let mut bytes = value.iter();
    loop {
        match bytes.next() {
            Some(b'"') => return Ok((content, bytes.as_slice())),
            Some(b'\\') => match bytes.next() {
                Some(&escaped @ (b'"' | b'\\')) => content.push(escaped.into()),
                _ => return Err(MalformedKey::Syntax),
            },
            Some(&plain @ b' '..=b'~') => content.push(plain.into()),
            _ => return Err(MalformedKey::Syntax),
        }
    }
}

/// Finds the end of parameters, `;name=value`. None is defined, so their values are looked at no
/// closer than that takes.
fn skip_parameters(mut rest: &[u8]) -> Result<(), MalformedKey> {
    while let Some(parameter) = rest.strip_prefix(b";") {
        let parameter = parameter.trim_ascii_start();
        let name = split(parameter, |byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)
        });
        if !matches!(name.0.first(), Some(b'a'..=b'z' | b'*')) {
            return Err(MalformedKey::Syntax);
        }
        rest = match name.1.strip_prefix(b"=") {
            None => name.1,
            Some(value) => match value.strip_prefix(b"\"") {
                Some(value) => string(value)?.1,
                None => match split(value, |byte| byte.is_ascii_graphic() && byte != b';') {
                    ([], _) => return Err(MalformedKey::Syntax),
                    (_, rest) => rest,
                },
            },
        };
    }
    if rest.is_empty() { Ok(()) } else { Err(MalformedKey::Syntax) }
}

/// A key that came without quotes. Nothing in it that a structured field or a list would give a
/// meaning to.
fn bare(value: &[u8]) -> Result<String, MalformedKey> {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"\\,;".contains(byte);
    match str::from_utf8(value) {
        Ok(text) if value.iter().all(plain) => Ok(text.to_owned()),
        _ => Err(MalformedKey::Syntax),
    }
}

fn split(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().position(|byte| !belongs(*byte)).unwrap_or(bytes.len()))
}

// Stripe's limit, and seven times a UUID; the key is hashed, so it costs no room.
const MAX_LENGTH: usize = 255;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_drafts_examples_are_keys() {
        assert_eq!(parse(r#""8e03978e-40d5-43e8-bc93-6894a57f9324""#), Ok(UUID.into()));
        let random = "clkyoesmbgybucifusbbtdsbohtyuuwz";
        assert_eq!(parse(&format!("\"{random}\"")), Ok(random.into()));
    }

    #[test]
    fn quotes_may_be_missing_and_do_not_make_another_key() {
        assert_eq!(parse(UUID), parse(&format!("  \"{UUID}\" ")));
        assert_eq!(parse(UUID), Ok(UUID.into()));
    }

    #[test]
    fn escapes_and_spaces_belong_into_quotes() {
        assert_eq!(parse(r#""a \"b\" \\ c, d;e""#), Ok(r#"a "b" \ c, d;e"#.into()));
        for value in
            [r#""a\b""#, r#""a"#, r#"""""#, r#""a\"#, "a b", "a,b", "a;b", r#"a"b"#, r"a\b"]
        {
            assert_eq!(parse(value), Err(MalformedKey::Syntax), "{value}");
        }
    }

    #[test]
    fn parameters_are_skipped() {
        for parameters in [";a", "; a=1", r#";a="x;y";b=:aGk=:;c=?1;*d"#] {
            assert_eq!(parse(&format!("\"k\"{parameters}")), Ok("k".into()), "{parameters}");
        }
        for parameters in [";", ";A=1", ";a=", r#";a="x"#, " ;a", ",\"l\"", "x"] {
            let value = format!("\"k\"{parameters}");
            assert_eq!(parse(&value), Err(MalformedKey::Syntax), "{parameters}");
        }
    }

    #[test]
    fn a_key_has_1_to_255_characters() {
        assert_eq!(parse(""), Err(MalformedKey::Empty));
        assert_eq!(parse("\"\""), Err(MalformedKey::Empty));
        let longest = "k".repeat(255);
        assert_eq!(parse(&longest), Ok(longest.clone()));
        assert_eq!(parse(&format!("{longest}k")), Err(MalformedKey::TooLong));
        assert_eq!(parse(&format!("\"{longest}k\"")), Err(MalformedKey::TooLong));
    }

    #[test]
    fn what_is_not_ascii_is_no_key() {
        for value in ["\"ä\"", "ä"] {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            assert_eq!(IdempotencyKey::parse(&value), Err(MalformedKey::Syntax));
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_as_a_string_is_read_again(key in "[ -~]{1,255}") {
            let escaped = key.replace('\\', r"\\").replace('"', r#"\""#);
            prop_assert_eq!(parse(&format!("\"{escaped}\"")), Ok(key));
        }

        #[test]
        fn any_field_value_is_a_key_or_an_error(value in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(value) = HeaderValue::from_bytes(&value)
                && let Ok(key) = IdempotencyKey::parse(&value)
            {
                prop_assert!((1..=255).contains(&key.as_str().len()));
                prop_assert!(key.as_str().bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            }
        }

        #[test]
        fn quoted_beginnings_are_a_key_or_an_error(value in r#""[ -~"\\;=]{0,40}"#) {
            let _ = parse(&value);
        }
    }

    const UUID: &str = "8e03978e-40d5-43e8-bc93-6894a57f9324";

    fn parse(value: &str) -> Result<String, MalformedKey> {
        let value = HeaderValue::from_str(value).unwrap();
        IdempotencyKey::parse(&value).map(|key| key.as_str().to_owned())
    }
}
