//! The file for lines that are of no use, as every verb that reads lines has it.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use tower_inbox::lines::DeadLetters;

use crate::error::Failure;

/// Where they go if nobody says: beside the input.
pub(crate) fn default_path(input: &Path) -> PathBuf {
    let mut name = if input == Path::new("-") {
        OsString::from("stdin")
    } else {
        input.as_os_str().to_owned()
    };
    name.push(".dead.ndjson");
    name.into()
}

/// Begins the file of a run, with care for the letters of a stream that cannot be read again.
pub(crate) fn create(path: &Path, input: &Path) -> Result<DeadLetters, Failure> {
    let letters = if input == Path::new("-") {
        DeadLetters::create_beside(path)
    } else {
        DeadLetters::create(path)
    };
    letters.map_err(|error| {
        let path = path.display();
        Failure::usage(format!("cannot use {path} for dead letters")).because(error)
    })
}

/// A line was of no use, and could not be kept either.
pub(crate) fn unburied(letters: &DeadLetters, error: io::Error) -> Failure {
    let path = letters.path().display();
    Failure::stopped(format!("could not write dead letters to {path}")).because(error).advice(
        "make room, or name another file with --dead-letters; then run the same command again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_letters_lie_beside_the_input() {
        assert_eq!(default_path(Path::new("a/b.ndjson")), Path::new("a/b.ndjson.dead.ndjson"));
        assert_eq!(default_path(Path::new("-")), Path::new("stdin.dead.ndjson"));
    }
}
