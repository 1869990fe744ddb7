use std::io::{self, Write};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::error::Failure;

/// How a verb prints what it found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object on one line.
    Json,
    /// The same; of a list, one line for each of its items.
    Ndjson,
}

impl Format {
    /// Renders a report for people or for programs.
    pub(crate) fn render<T: Serialize>(
        self,
        report: &T,
        text: impl FnOnce(&T) -> String,
    ) -> String {
        match self {
            Self::Text => text(report),
            Self::Json | Self::Ndjson => {
                let json = serde_json::to_string(report);
                json.expect("reports have text keys and finite numbers") + "\n"
            }
        }
    }
}

/// Prints to standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    write(text.as_bytes())
}

/// Writes to standard output, whatever it is.
pub(crate) fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Failure::output)
}

/// Prints to standard error, and ignores that it may be closed.
pub(crate) fn note(text: &str) {
    writeln!(io::stderr(), "{text}").ok();
}
