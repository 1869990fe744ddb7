use std::{path::PathBuf, str::FromStr, time::Duration};

use sqlx::{
    AssertSqlSafe, Row, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use tokio::time::{Instant, sleep};
use tower_inbox::{
    error::{StoreError, StoreErrorKind},
    inbox::{SqliteStore, retention::Sweeper},
    key::InboxKey,
};

use super::{
    Backend, Insert, TableName, Use,
    table::{Column, misfit},
};
use crate::error::Failure;

/// An SQLite file, as written in a URL.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    ReadOnly,
    ReadWrite,
    Create,
}

impl File {
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let mut mode = Mode::Create;
        let parameters = url.split_once('?').map_or("", |(_, query)| query);
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            mode = match parameter {
                "mode=ro" => Mode::ReadOnly,
                "mode=rw" => Mode::ReadWrite,
                "mode=rwc" => Mode::Create,
                "mode=memory" => return Err(IN_MEMORY.into()),
                _ => {
                    return Err(format!(
                        "{parameter:?} is not known here; there are mode=ro, mode=rw and mode=rwc"
                    ));
                }
            };
        }
        // For the percent signs.
        let options = SqliteConnectOptions::from_str(url).map_err(|error| error.to_string())?;
        let path = options.get_filename().to_owned();
        if url.contains(":memory:") {
            return Err(IN_MEMORY.into());
        }
        if path.as_os_str().is_empty() {
            return Err("there is no file name; write sqlite://FILE".into());
        }
        Ok(Self { path, mode })
    }

    pub(super) async fn open(&self, purpose: Use) -> Result<SqliteStore, Failure> {
        let create = purpose.create && self.mode == Mode::Create;
        if !create && !self.path.exists() {
            return Err(Failure::stopped(format!(
                "there is no SQLite file {}",
                self.path.display()
            ))
            .advice("check the path; `tower-inbox consume` and `tower-inbox migrate` make files"));
        }
        if self.mode == Mode::ReadOnly {
            // Switching to the write-ahead log would be writing.
            let options = SqliteConnectOptions::new()
                .filename(&self.path)
                .read_only(true)
                .busy_timeout(PATIENCE);
            let pool = SqlitePoolOptions::new()
                .max_connections(1)
                .connect_with(options)
                .await
                .map_err(|error| {
                    SqliteStore::classify(error, &format!("could not open {}", self.path.display()))
                })?;
            return Ok(SqliteStore::new(pool));
        }
        let started = Instant::now();
        loop {
            match SqliteStore::open(&self.path).await {
                // Two processes that switch a new file to the write-ahead log are not queued by the
                // busy timeout.
                Err(error)
                    if error.kind() == StoreErrorKind::Busy && started.elapsed() < PATIENCE =>
                {
                    sleep(PAUSE).await;
                }
                opened => return Ok(opened?),
            }
        }
    }
}

impl Backend for SqliteStore {
    const MIGRATES_UNASKED: bool = true;

    fn sweeper(&self) -> Sweeper<Self> {
        Self::sweeper(self)
    }

    async fn version(&self) -> Result<Option<i64>, StoreError> {
        self.schema().version().await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.schema().check().await
    }

    async fn up(&self) -> Result<(), StoreError> {
        self.schema().up().await
    }

    async fn down(&self, version: i64) -> Result<(), StoreError> {
        self.schema().down(version).await
    }

    async fn prepare_table(&self, table: &TableName) -> Result<Insert, Failure> {
        let failed = |error| {
            Failure::from(SqliteStore::classify(
                error,
                &format!("could not look at the table {table}"),
            ))
        };
        let kind = sqlx::query_scalar(include_str!("sql/sqlite/table.sql"))
            .bind(&table.name)
            .fetch_optional(self.pool())
            .await
            .map_err(failed)?;
        let kind: String = match kind {
            Some(kind) => kind,
            None => {
                let create =
                    include_str!("sql/sqlite/create_table.sql").replace("{table}", &table.quoted());
                // Only the name is formatted, and it is quoted.
                sqlx::raw_sql(AssertSqlSafe(create)).execute(self.pool()).await.map_err(
                    |error| {
                        SqliteStore::classify(error, &format!("could not make the table {table}"))
                    },
                )?;
                "table".into()
            }
        };
        let columns = sqlx::query(include_str!("sql/sqlite/columns.sql"))
            .bind(&table.name)
            .fetch_all(self.pool())
            .await
            .and_then(|rows| {
                rows.iter()
                    .map(|row| {
                        Ok(Column {
                            name: row.try_get(0)?,
                            kind: row.try_get(1)?,
                            fills_itself: row.try_get(2)?,
                        })
                    })
                    .collect::<Result<Vec<_>, _>>()
            })
            .map_err(failed)?;
        let misfit = if kind == "table" {
            misfit(&columns, &[("inbox_key", "text"), ("message", "text")])
        } else {
            Some(format!("it is a {kind}"))
        };
        if let Some(misfit) = misfit {
            return Err(table.unfit(&misfit));
        }
        let insert = include_str!("sql/sqlite/insert.sql").replace("{table}", &table.quoted());
        Ok(insert.into())
    }

    async fn insert(
        connection: &mut SqliteConnection,
        insert: &Insert,
        key: InboxKey,
        message: &str,
    ) -> Result<(), sqlx::Error> {
        // Only the table's name was formatted into it.
        sqlx::query(AssertSqlSafe(Insert::clone(insert)))
            .bind(key.to_string())
            .bind(message)
            .execute(connection)
            .await
            .map(drop)
    }

    fn concerns_message(error: &sqlx::Error) -> bool {
        matches!(code(error), Some(SQLITE_TOOBIG | SQLITE_CONSTRAINT | SQLITE_MISMATCH))
    }

    fn error(error: sqlx::Error, context: &str) -> StoreError {
        SqliteStore::classify(error, context)
    }

    async fn close(&self) {
        self.pool().close().await;
    }
}

/// <https://www.sqlite.org/rescode.html>
fn code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

const SQLITE_TOOBIG: i32 = 18;
const SQLITE_CONSTRAINT: i32 = 19;
const SQLITE_MISMATCH: i32 = 20;

const IN_MEMORY: &str = "a database in memory is gone at the end of the run, so nothing would be \
                         recognised the next time; name a file";
// As long as the store waits for the one writer.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_out_of_urls() {
        let path = |url: &str| File::parse(url).unwrap().path.to_str().unwrap().to_owned();
        assert_eq!(path("sqlite://a.db"), "a.db");
        assert_eq!(path("sqlite:a.db"), "a.db");
        assert_eq!(path("sqlite:///var/a.db"), "/var/a.db");
        assert_eq!(path("sqlite://a%20b.db?mode=rw"), "a b.db");
        assert_eq!(File::parse("sqlite://a.db?mode=ro").unwrap().mode, Mode::ReadOnly);
    }

    #[test]
    fn memory_and_unknown_parameters_are_refused() {
        for (url, reason) in [
            ("sqlite::memory:", "in memory"),
            ("sqlite://:memory:", "in memory"),
            ("sqlite://a.db?mode=memory", "in memory"),
            ("sqlite://a.db?mode=none", "not known"),
            ("sqlite://a.db?cache=shared", "not known"),
            ("sqlite://", "no file name"),
            ("sqlite:", "no file name"),
        ] {
            let error = File::parse(url).unwrap_err();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }
}
