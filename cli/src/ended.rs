use std::io;

use crate::{error::Failure, exit::Exit, output};

/// How a run over a stream ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The stream was read to its end.
    ReadToEnd,
    /// A signal came.
    Interrupted,
    /// Something broke.
    Broken(Failure),
}

impl Ended {
    pub(crate) fn unreadable(error: io::Error) -> Self {
        Self::Broken(Failure::stopped("could not read the input").because(error))
    }

    /// `done` says what becomes of what the run has done.
    pub(crate) fn into_exit(self, done: &str) -> Result<Exit, Failure> {
        match self {
            Self::ReadToEnd => Ok(Exit::Done),
            Self::Interrupted => {
                output::note(&format!(
                    "stopped by a signal: run the same command again to go on; {done}"
                ));
                Ok(Exit::Stopped)
            }
            Self::Broken(failure) => Err(failure),
        }
    }
}
