use std::{
    fs::{self, File},
    io::{self, BufReader, IsTerminal, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use tokio::sync::mpsc;
use tower_inbox::lines::{BadLine, LineReader};

use super::{Message, Settings};
use crate::{database::Location, error::Failure};

/// The stream, opened.
pub(super) struct Input {
    stream: Box<dyn Read + Send>,
    file: Option<fs::Metadata>,
}

/// What became of one line.
pub(super) struct Item {
    pub(super) line: Result<Arc<Message>, BadLine>,
    /// How many bytes of the stream end with it.
    pub(super) offset: u64,
}

impl Input {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self { stream: Box::new(io::stdin()), file: None });
        }
        let failed = |error| {
            Failure::usage(format!("could not open the input {}", path.display())).because(error)
        };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        Ok(Self { stream: Box::new(file), file: Some(metadata) })
    }

    /// Refuses dead letters that would be written over what the run works on.
    pub(super) fn keep_apart(
        &self,
        dead_letters: &Path,
        location: &Location,
    ) -> Result<(), Failure> {
        let Ok(theirs) = fs::metadata(dead_letters) else { return Ok(()) };
        let same = |metadata: &fs::Metadata| {
            (metadata.dev(), metadata.ino()) == (theirs.dev(), theirs.ino())
        };
        let path = dead_letters.display();
        if self.file.as_ref().is_some_and(same) {
            return Err(Failure::usage(format!(
                "{path} is the input and cannot take dead letters"
            )));
        }
        if location.file().and_then(|path| fs::metadata(path).ok()).is_some_and(|file| same(&file))
        {
            return Err(Failure::usage(format!(
                "{path} is the database and cannot take dead letters"
            )));
        }
        Ok(())
    }

    /// How many bytes there are, where that is known.
    pub(super) fn length(&self) -> Option<u64> {
        self.file.as_ref().filter(|file| file.is_file()).map(fs::Metadata::len)
    }

    /// Reads lines and makes their keys in a thread of its own, a little ahead of the handling.
    ///
    /// The thread is not waited for: a standard input that says nothing would keep us from ending.
    pub(super) fn read(self, settings: &Settings) -> mpsc::Receiver<io::Result<Item>> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let stream = BufReader::with_capacity(BUFFER, self.stream);
        let mut reader = LineReader::new(stream).limit(settings.max_line);
        let (fields, kind) = (settings.key.clone(), settings.kind.clone());
        thread::spawn(move || {
            while let Some(line) = reader.next() {
                let item = line.map(|line| Item {
                    line: line.and_then(|line| Message::new(line, &fields, &kind)).map(Arc::new),
                    offset: reader.offset(),
                });
                if sender.blocking_send(item).is_err() {
                    break;
                }
            }
        });
        receiver
    }
}

/// Standard input, unless somebody sits there and was not asked.
pub(super) fn default_path() -> Result<PathBuf, Failure> {
    if io::stdin().is_terminal() {
        return Err(Failure::usage("there is no input")
            .advice("give --input FILE, or send lines to standard input"));
    }
    Ok("-".into())
}

// Lines read ahead: enough to keep the handling busy, and with the longest lines still bounded.
const AHEAD: usize = 16;
const BUFFER: usize = 128 * 1024;
