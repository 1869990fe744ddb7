use std::{fmt, path::Path};

use super::{Database, TableName};
#[cfg(not(all(feature = "sqlite", feature = "postgres")))]
use crate::url::feature_missing;
use crate::{error::Failure, url::without_secrets};

/// Where a database is, as written after `--database`.
#[derive(Debug)]
pub(crate) struct Location {
    /// Without secrets.
    shown: String,
    scheme: Scheme,
}

/// What a database is opened for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Use {
    /// Whether an SQLite file that is missing is made.
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code))]
    pub(crate) create: bool,
    /// How many connections are needed at once.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(crate) connections: u32,
}

#[derive(Debug)]
pub(crate) enum Scheme {
    #[cfg(feature = "sqlite")]
    Sqlite(super::sqlite::File),
    #[cfg(feature = "postgres")]
    Postgres(Box<sqlx::postgres::PgConnectOptions>),
}

impl Location {
    pub(crate) fn parse(url: &str) -> Result<Self, Failure> {
        let shown = without_secrets(url);
        let scheme = match url.split_once(':').map(|(scheme, _)| scheme) {
            #[cfg(feature = "sqlite")]
            Some("sqlite") => super::sqlite::File::parse(url)
                .map(Scheme::Sqlite)
                .map_err(|reason| Failure::usage(format!("--database {shown}: {reason}")))?,
            #[cfg(not(feature = "sqlite"))]
            Some("sqlite") => {
                return Err(feature_missing(&format!("--database {shown}"), "SQLite", "sqlite"));
            }
            #[cfg(feature = "postgres")]
            Some("postgres" | "postgresql") => url
                .parse()
                .map(|options| Scheme::Postgres(Box::new(options)))
                // The error is left out: it may quote a part of the URL, and that may be the
                // password.
                .map_err(|_: sqlx::Error| {
                    Failure::usage(format!("--database {shown}: this URL cannot be read")).advice(
                        "write postgres://USER:PASSWORD@HOST:PORT/NAME, with %40 for an @ in the \
                         password and so on",
                    )
                })?,
            #[cfg(not(feature = "postgres"))]
            Some("postgres" | "postgresql") => {
                return Err(feature_missing(
                    &format!("--database {shown}"),
                    "PostgreSQL",
                    "postgres",
                ));
            }
            _ => {
                return Err(Failure::usage(format!(
                    "--database {shown}: there is no such kind of database"
                ))
                .advice("write sqlite://FILE or postgres://USER@HOST/NAME"));
            }
        };
        Ok(Self { shown, scheme })
    }

    pub(crate) fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// The file, where it is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match &self.scheme {
            #[cfg(not(feature = "_database"))]
            _ => unreachable!("no location was parsed"),
            #[cfg(feature = "sqlite")]
            Scheme::Sqlite(file) => Some(&file.path),
            #[cfg(feature = "postgres")]
            Scheme::Postgres(_) => None,
        }
    }

    /// Refuses a name that no table can have there, before anything is opened.
    pub(crate) fn accepts(&self, table: &TableName) -> Result<(), Failure> {
        match &self.scheme {
            #[cfg(not(feature = "_database"))]
            _ => unreachable!("no location was parsed"),
            #[cfg(feature = "sqlite")]
            Scheme::Sqlite(_) => match &table.schema {
                Some(_) => Err(Failure::usage(format!("the table name \"{table}\" has a schema"))
                    .advice("SQLite has no schemas: write the table's name without a dot")),
                None => Ok(()),
            },
            #[cfg(feature = "postgres")]
            Scheme::Postgres(_) => {
                let mut parts = table.schema.iter().chain([&table.name]);
                // PostgreSQL would cut it, and use another table than the one that was named.
                match parts.find(|part| part.len() > LONGEST_NAME) {
                    Some(part) => Err(Failure::usage(format!(
                        "the name \"{part}\" is longer than {LONGEST_NAME} bytes"
                    ))),
                    None => Ok(()),
                }
            }
        }
    }

    pub(crate) async fn open(&self, purpose: Use) -> Result<Database, Failure> {
        match &self.scheme {
            #[cfg(not(feature = "_database"))]
            _ => unreachable!("no location was parsed"),
            #[cfg(feature = "sqlite")]
            Scheme::Sqlite(file) => file.open(purpose).await.map(Database::Sqlite),
            #[cfg(feature = "postgres")]
            Scheme::Postgres(options) => {
                super::postgres::open(options, self, purpose).await.map(Database::Postgres)
            }
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

// PostgreSQL's NAMEDATALEN - 1.
#[cfg(feature = "postgres")]
const LONGEST_NAME: usize = 63;
/// A file in the current directory: nothing to install.
pub(crate) const DEFAULT_URL: &str = "sqlite://tower-inbox.db";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_schemes_are_refused() {
        for url in ["mysql://h/d", "tower-inbox.db", "", "://"] {
            assert!(Location::parse(url).is_err(), "{url:?}");
        }
    }
}
