use std::{fs, io::ErrorKind, path::Path};

use serde::Deserialize;

use crate::{args::ConsumeArgs, error::Failure, output::Format};

/// What the config file says. The names are those of the flags.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    pub(crate) database: Option<String>,
    pub(crate) format: Option<Format>,
    pub(crate) consume: ConsumeArgs,
    /// Has the library's settings beside the flags', and is checked by the verbs that want it.
    pub(crate) events: toml::Table,
}

impl Config {
    /// Reads the file that was named, or the one in the current directory if there is one.
    pub(crate) fn read(named: Option<&Path>) -> Result<Self, Failure> {
        let path = named.unwrap_or(Path::new(FILE));
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => {
                let what = format!("could not read the config file {}", path.display());
                return Err(Failure::usage(what).because(error));
            }
        };
        toml::from_str(&text).map_err(|error| {
            // `error` shows the line, and a line may hold a password.
            let at = error.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
            Failure::usage(format!(
                "the config file {}, line {at}: {}",
                path.display(),
                error.message()
            ))
            .advice("docs/command-line.md lists the keys; they are named like the flags")
        })
    }
}

const FILE: &str = "tower-inbox.toml";
