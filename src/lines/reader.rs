use std::{
    fmt,
    io::{self, BufRead, Read},
};

use super::{BadLine, Line};

/// Gives the lines of a stream one after the other, each with its number.
///
/// - A line ends with LF or CRLF; the last one may end with the stream.
/// - A UTF-8 byte order mark at the beginning of the stream is left out.
/// - Lines of nothing but ASCII whitespace are counted and skipped.
/// - A line that is not UTF-8, or is longer than the limit, is a [`BadLine`]; the next one is read
///   as if nothing had happened. No more than the limit is ever held in memory.
///
/// The outer error is the stream's own. After it, and after the end, there are no more lines.
pub struct LineReader<R> {
    stream: R,
    limit: usize,
    number: u64,
    offset: u64,
    ended: bool,
}

impl<R: BufRead> LineReader<R> {
    /// Reads lines of up to 16 MiB.
    pub fn new(stream: R) -> Self {
        Self { stream, limit: LIMIT, number: 0, offset: 0, ended: false }
    }

    /// Sets how many bytes a line may have, without what ends it. Defaults to 16 MiB.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// How many bytes of the stream have been read, for a progress bar.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The stream, at the beginning of the line after the last one given.
    pub fn into_inner(self) -> R {
        self.stream
    }

    /// Reads one line, blank or not.
    fn read(&mut self) -> io::Result<Option<Result<Line, BadLine>>> {
        let mut bytes = Vec::new();
        // Room for CR and LF, so that a line of exactly the limit is read to its end.
        let room = self.limit.saturating_add(2).saturating_add(self.mark());
        let read = (&mut self.stream).take(room as u64).read_until(b'\n', &mut bytes)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.offset += read as u64;

        let ended = bytes.ends_with(b"\n");
        if ended {
            bytes.pop();
        }
        if bytes.ends_with(b"\r") && (ended || read < room) {
            bytes.pop();
        }
        if self.number == 1 && bytes.starts_with(MARK) {
            bytes.drain(..MARK.len());
        }
        if bytes.len() > self.limit {
            if !ended {
                self.offset += self.stream.skip_until(b'\n')? as u64;
            }
            bytes.truncate(KEPT.min(self.limit));
            if let Err(error) = str::from_utf8(&bytes)
                && error.error_len().is_none()
            {
                // The cut went through a character.
                bytes.truncate(error.valid_up_to());
            }
            let reason = format!("the line is longer than {} bytes", self.limit);
            return Ok(Some(Err(BadLine::new(self.number, reason, bytes).truncated())));
        }
        Ok(Some(match String::from_utf8(bytes) {
            Ok(text) => Ok(Line::new(self.number, text)),
            Err(error) => {
                let at = error.utf8_error().valid_up_to() + 1;
                let reason = format!("the line is not UTF-8 at byte {at}");
                Err(BadLine::new(self.number, reason, error.into_bytes()))
            }
        }))
    }

    /// How many bytes of a byte order mark the next line may begin with.
    fn mark(&self) -> usize {
        if self.number == 0 { MARK.len() } else { 0 }
    }
}

impl<R: BufRead> Iterator for LineReader<R> {
    type Item = io::Result<Result<Line, BadLine>>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.read() {
                Ok(Some(Ok(line))) if is_blank(&line.text) => {}
                Ok(Some(line)) => return Some(Ok(line)),
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl<R> fmt::Debug for LineReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineReader")
            .field("limit", &self.limit)
            .field("number", &self.number)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

fn is_blank(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_whitespace())
}

const MARK: &[u8] = b"\xef\xbb\xbf";
// Above what brokers and webhooks deliver by a factor of ten, and small beside a machine's memory.
const LIMIT: usize = 16 * 1024 * 1024;
// Enough of a line that is too long to recognise it by.
const KEPT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_lf_crlf_or_the_stream() {
        assert_eq!(texts(b"a\nb\r\nc"), [(1, "a"), (2, "b"), (3, "c")]);
        assert_eq!(texts(b"a\n"), [(1, "a")]);
        assert_eq!(texts(b"a\r"), [(1, "a")]);
        assert_eq!(texts(b""), []);
    }

    #[test]
    fn inside_a_line_nothing_is_changed() {
        assert_eq!(texts(b" a\rb \r\r\n"), [(1, " a\rb \r")]);
    }

    #[test]
    fn blank_lines_are_counted_and_skipped() {
        assert_eq!(texts(b"\n \t\r\na\n\n\nb\n\n"), [(3, "a"), (6, "b")]);
    }

    #[test]
    fn a_byte_order_mark_is_left_out_at_the_beginning_only() {
        assert_eq!(texts(b"\xef\xbb\xbfa\n\xef\xbb\xbfb"), [(1, "a"), (2, "\u{feff}b")]);
        assert_eq!(texts(b"\xef\xbb\xbf"), []);
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_good() {
        for (stream, good) in [
            (&b"abcd"[..], true),
            (b"abcd\n", true),
            (b"abcd\r\n", true),
            (b"abcd\r", true),
            (b"\xef\xbb\xbfabcd\r\n", true),
            (b"abcde", false),
            (b"abcde\r", false),
            (b"abcde\n", false),
            (b"abcde\r\n", false),
            (b"abcd\r\r\n", false),
        ] {
            let mut reader = LineReader::new(stream).limit(4);
            assert_eq!(reader.next().unwrap().unwrap().is_ok(), good, "{stream:?}");
            assert!(reader.next().is_none(), "{stream:?}");
        }
    }

    #[test]
    fn an_over_long_line_is_skipped_and_the_rest_goes_on() {
        let stream = [b"a\n".as_slice(), &vec![b'x'; 100_000], b"\nb\n"].concat();
        let mut reader = LineReader::new(stream.as_slice()).limit(2000);
        assert_eq!(reader.next().unwrap().unwrap().unwrap().text, "a");
        let bad = reader.next().unwrap().unwrap().unwrap_err();
        assert_eq!((bad.number, bad.raw.len(), bad.truncated), (2, 1024, true));
        assert_eq!(bad.reason, "the line is longer than 2000 bytes");
        assert_eq!(reader.next().unwrap().unwrap().unwrap(), Line::new(3, "b"));
        assert_eq!(reader.offset(), stream.len() as u64);
    }

    #[test]
    fn the_beginning_of_an_over_long_line_ends_between_characters() {
        let mut reader = LineReader::new("äöü".as_bytes()).limit(3);
        let bad = reader.next().unwrap().unwrap().unwrap_err();
        assert_eq!(bad.raw, "ä".as_bytes());
    }

    #[test]
    fn a_line_that_is_not_text_is_bad() {
        let mut reader = LineReader::new(&b"ab\xffc\nd"[..]);
        let bad = reader.next().unwrap().unwrap().unwrap_err();
        assert_eq!(bad, BadLine::new(1, "the line is not UTF-8 at byte 3", *b"ab\xffc"));
        assert_eq!(reader.next().unwrap().unwrap().unwrap().text, "d");
    }

    #[test]
    fn an_error_of_the_stream_ends_it() {
        struct Broken;
        impl io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("unplugged"))
            }
        }
        let stream = io::BufReader::new((&b"a\nb"[..]).chain(Broken));
        let mut reader = LineReader::new(stream);
        assert!(reader.next().unwrap().unwrap().is_ok());
        // Half a line is no line.
        assert_eq!(reader.next().unwrap().unwrap_err().to_string(), "unplugged");
        assert!(reader.next().is_none());
    }

    fn texts(stream: &[u8]) -> Vec<(u64, &'static str)> {
        LineReader::new(stream)
            .map(|line| line.unwrap().unwrap())
            .map(|line| (line.number, &*line.text.leak()))
            .collect()
    }
}
