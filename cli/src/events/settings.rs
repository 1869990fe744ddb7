use serde::de::DeserializeOwned;
use toml::{Table, Value};
use tower_inbox::events::{DeduplicationConfig, DeduplicationConfigBuilder};

use crate::error::Failure;

/// The settings of a verb: those of the config file, with what flags and variables say put over
/// them.
///
/// The file has the names of the flags, and whatever else the library can be told, with `-` for `_`.
pub(super) struct Settings(Table);

impl Settings {
    pub(super) fn new(file: Table) -> Self {
        Self(underscored(file))
    }

    /// Takes out a setting that is ours and not the library's.
    pub(super) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, Failure> {
        let Some(value) = self.0.remove(&name.replace('-', "_")) else { return Ok(None) };
        value.try_into().map(Some).map_err(|error: toml::de::Error| {
            Failure::usage(format!("[events] of the config file: {name}: {}", error.message()))
        })
    }

    /// Puts a value over that of the file, if there is one.
    pub(super) fn put(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
    }

    /// Puts a value that nobody has given.
    pub(super) fn put_default(&mut self, name: &str, value: impl Into<Value>) {
        self.0.entry(name).or_insert_with(|| value.into());
    }

    pub(super) fn integer(&self, name: &str) -> Option<usize> {
        self.0.get(name)?.as_integer()?.try_into().ok()
    }

    /// Lets the library check them.
    pub(super) fn build(self) -> Result<DeduplicationConfig, Failure> {
        let builder: DeduplicationConfigBuilder =
            self.0.try_into().map_err(|error: toml::de::Error| {
                let what = format!("[events] of the config file: {}", error.to_string().trim());
                Failure::usage(what).advice("docs/command-line.md lists the keys")
            })?;
        builder
            .build()
            .map_err(|error| Failure::usage("these settings make no sense").because(error))
    }
}

fn underscored(table: Table) -> Table {
    table.into_iter().map(|(name, value)| (name.replace('-', "_"), value)).collect()
}
