use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::BadLine;

/// The file for lines that could not be used: one JSON object a line.
///
/// ```json
/// {"line":7,"reason":"key field `order_id` is missing","raw":"{\"email\":\"a@example.com\"}"}
/// ```
///
/// Bytes that are not UTF-8 stand in `raw_hex` in place of `raw`, and `"truncated":true` is added
/// where only the beginning of the line was kept.
///
/// The file is made by the first letter, so a run without any leaves none; it then belongs to this
/// run alone.
#[derive(Debug)]
pub struct DeadLetters {
    path: PathBuf,
    file: Option<File>,
    count: u64,
}

impl DeadLetters {
    /// Begins a run over a stream that can be read again: removes the letters that an earlier run
    /// left at the path.
    ///
    /// # Errors
    ///
    /// There is something at the path that is not a file of dead letters, or cannot be removed.
    pub fn create(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        if earlier(&path)? {
            fs::remove_file(&path)?;
        }
        Ok(Self { path, file: None, count: 0 })
    }

    /// Begins a run over a stream that cannot be read again: the letters that an earlier run left at
    /// the path may be all there is of their lines, and are moved to the first free one of `path.1`,
    /// `path.2` and so on.
    ///
    /// # Errors
    ///
    /// There is something at the path that is not a file of dead letters, or cannot be moved.
    pub fn create_beside(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        if earlier(&path)? {
            let numbered = (1_u32..).map(|number| {
                let mut name = path.clone().into_os_string();
                name.push(format!(".{number}"));
                PathBuf::from(name)
            });
            let free = numbered.into_iter().find(|path| fs::symlink_metadata(path).is_err());
            fs::rename(&path, free.expect("some number is free"))?;
        }
        Ok(Self { path, file: None, count: 0 })
    }

    /// Writes one letter through to the file.
    ///
    /// # Errors
    ///
    /// The file cannot be made or written; the letter is then not counted.
    pub fn push(&mut self, bad: &BadLine) -> io::Result<()> {
        let (name, raw) = match str::from_utf8(&bad.raw) {
            Ok(text) => ("raw", text.into()),
            Err(_) => ("raw_hex", hex(&bad.raw)),
        };
        let letter = format!(
            "{{\"line\":{},\"reason\":{},\"{name}\":{}{}}}\n",
            bad.number,
            Value::from(&*bad.reason),
            Value::from(raw),
            if bad.truncated { ",\"truncated\":true" } else { "" },
        );
        // One write for the whole line, so that a crash does not leave half of it among others.
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::options().append(true).create_new(true).open(&self.path)?),
        };
        file.write_all(letter.as_bytes())?;
        self.count += 1;
        Ok(())
    }

    /// Makes the letters survive a power cut; for the end of a run.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn sync(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_all)
    }

    /// How many letters were written.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Where the file is, or would be.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether an earlier run left letters here. Anything else is not ours to take away.
fn earlier(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => Err(not_ours("is not a file")),
        Ok(_) => {
            let mut first = Vec::new();
            File::open(path)?.take(LETTER.len() as u64).read_to_end(&mut first)?;
            if first.is_empty() || first == LETTER {
                Ok(true)
            } else {
                Err(not_ours("does not hold dead letters"))
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn not_ours(what: &str) -> io::Error {
    let kind = io::ErrorKind::AlreadyExists;
    io::Error::new(kind, format!("what is at this path {what}, and would be overwritten"))
}

/// How every letter begins.
const LETTER: &[u8] = b"{\"line\":";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_dead_letter_is_not_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious.txt");
        fs::write(&path, "gold").unwrap();
        for create in [|path| DeadLetters::create(path), |path| DeadLetters::create_beside(path)] {
            let error = create(path.clone()).unwrap_err();
            assert!(error.to_string().contains("would be overwritten"), "{error}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "gold");
    }

    #[test]
    fn letters_of_a_stream_that_is_gone_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stdin.dead.ndjson");
        for number in 1..=3 {
            let bad = BadLine::new(number, "no use", format!("line {number}"));
            DeadLetters::create_beside(&path).unwrap().push(&bad).unwrap();
        }
        let line = |name: &str| {
            let text = fs::read_to_string(folder.path().join(name)).unwrap();
            serde_json::from_str::<Value>(&text).unwrap()["line"].clone()
        };
        assert_eq!(line("stdin.dead.ndjson.1"), 1);
        assert_eq!(line("stdin.dead.ndjson.2"), 2);
        assert_eq!(line("stdin.dead.ndjson"), 3);
    }

    #[test]
    fn letters_hold_number_reason_and_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let mut letters = DeadLetters::create(folder.path().join("dead")).unwrap();
        letters.push(&BadLine::new(7, "not \"good\"", "{\"a\":\t1")).unwrap();
        letters.push(&BadLine::new(9, "not text", [0xff, 0x0a])).unwrap();
        letters.push(&BadLine::new(12, "too long", "xx").truncated()).unwrap();
        letters.sync().unwrap();

        assert_eq!(letters.count(), 3);
        let text = fs::read_to_string(letters.path()).unwrap();
        assert!(text.starts_with(r#"{"line":7,"reason":"not \"good\"","raw":"{\"a\":\t1"}"#));
        assert_eq!(
            read(letters.path()),
            [
                json!({"line": 7, "reason": "not \"good\"", "raw": "{\"a\":\t1"}),
                json!({"line": 9, "reason": "not text", "raw_hex": "ff0a"}),
                json!({"line": 12, "reason": "too long", "raw": "xx", "truncated": true}),
            ]
        );
    }

    #[test]
    fn without_letters_there_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead");
        fs::write(&path, "{\"line\":1,\"reason\":\"of an earlier run\",\"raw\":\"\"}\n").unwrap();
        let letters = DeadLetters::create(&path).unwrap();
        letters.sync().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_letter_is_there_before_the_run_ends() {
        let folder = tempfile::tempdir().unwrap();
        let mut letters = DeadLetters::create(folder.path().join("dead")).unwrap();
        letters.push(&BadLine::new(1, "bad", "x")).unwrap();
        assert_eq!(read(letters.path()).len(), 1);
    }

    #[test]
    fn what_is_not_a_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        assert!(DeadLetters::create(folder.path()).is_err());
        assert!(folder.path().exists());
        assert!(DeadLetters::create(folder.path().join("no/such/folder")).is_ok());
    }

    fn read(path: &Path) -> Vec<Value> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
