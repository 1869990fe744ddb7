use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Write},
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
    /// Begins a run: removes the file that an earlier one left at the path.
    ///
    /// # Errors
    ///
    /// There is something at the path that cannot be removed, or is not a file.
    pub fn create(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        match fs::symlink_metadata(&path) {
            Ok(found) if !found.is_file() => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "there is something at this path that is not a file",
                ));
            }
            Ok(_) => fs::remove_file(&path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
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
        fs::write(&path, "of an earlier run").unwrap();
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
