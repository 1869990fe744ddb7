/// Escapes what has a meaning in a URL; a slash stays, since it has none in a query.
pub(crate) fn percent_encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_kept_and_the_rest_is_escaped() {
        assert_eq!(percent_encode("/tmp/pg-1.x_~"), "/tmp/pg-1.x_~");
        assert_eq!(percent_encode("a b?c&d%é"), "a%20b%3Fc%26d%25%C3%A9");
    }
}
