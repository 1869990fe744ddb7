use std::{
    fs::{self, File},
    io::{self, BufReader, IsTerminal, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use tower_inbox::lines::LineReader;

use crate::error::Failure;

/// The stream, opened.
pub(crate) struct Input {
    stream: Box<dyn Read + Send>,
    file: Option<fs::Metadata>,
}

impl Input {
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
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
    pub(crate) fn keep_apart(
        &self,
        dead_letters: &Path,
        database: Option<&Path>,
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
        if database.and_then(|path| fs::metadata(path).ok()).is_some_and(|file| same(&file)) {
            return Err(Failure::usage(format!(
                "{path} is the database and cannot take dead letters"
            )));
        }
        Ok(())
    }

    /// How many bytes there are, where that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        self.file.as_ref().filter(|file| file.is_file()).map(fs::Metadata::len)
    }

    /// The lines, of which none is longer than so many bytes.
    pub(crate) fn lines(self, longest: usize) -> LineReader<BufReader<Box<dyn Read + Send>>> {
        LineReader::new(BufReader::with_capacity(BUFFER, self.stream)).limit(longest)
    }
}

/// Standard input, unless somebody sits there and was not asked.
pub(crate) fn default_path() -> Result<PathBuf, Failure> {
    if io::stdin().is_terminal() {
        return Err(Failure::usage("there is no input")
            .advice("give --input FILE, or send lines to standard input"));
    }
    Ok("-".into())
}

const BUFFER: usize = 128 * 1024;
