use std::{
    fs::{self, File},
    io,
    path::PathBuf,
};

/// The file that everything a server and the programs that prepare it print goes to.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
}

impl Log {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Opens the log to be written at its end.
    pub(crate) fn open(&self) -> io::Result<File> {
        File::options().append(true).create(true).open(&self.path)
    }

    /// The length in bytes, for [`since`](Self::since).
    pub(crate) fn len(&self) -> usize {
        fs::metadata(&self.path).map_or(0, |metadata| metadata.len() as usize)
    }

    /// The last lines of what was written since the log had the given length.
    pub(crate) fn since(&self, length: usize) -> String {
        let text = self.text_since(length);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// Whether the text was written since the log had the given length.
    pub(crate) fn has_since(&self, length: usize, text: &str) -> bool {
        self.text_since(length).contains(text)
    }

    fn text_since(&self, length: usize) -> String {
        let bytes = fs::read(&self.path).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(length..).unwrap_or_default()).into_owned()
    }
}

const LINES: usize = 20;
