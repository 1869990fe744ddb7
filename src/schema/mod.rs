//! The tables of this library: made, checked and taken away by its own migrations.
//!
//! They live in a schema of their own (`tower_inbox`, on SQLite the prefix `tower_inbox_`) with a
//! migrations table of their own, so they never meet the host application's. Nothing here runs
//! unasked: a store that finds its tables missing says so.

#[cfg(feature = "postgres")]
mod one_transaction;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use sqlx::{
    AssertSqlSafe, SqlSafeStr,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use crate::error::{StoreError, StoreErrorKind};

#[cfg(feature = "postgres")]
pub use postgres::PgSchema;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteSchema;

/// The version of the tables that this release works with.
pub const VERSION: i64 = 7;

/// One numbered step, as plain SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// The number, the same on every database.
    pub version: i64,
    /// What it is about.
    pub description: &'static str,
    /// Goes from the version before to this one.
    pub up: &'static str,
    /// Goes back. Loses what only this version can hold.
    pub down: &'static str,
}

/// Refuses tables that this release cannot work with.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
fn check(found: Option<i64>) -> Result<(), StoreError> {
    match found {
        None => Err(StoreError::new(
            StoreErrorKind::NotMigrated,
            "the inbox tables are not there: run `tower-inbox migrate` or call the store's `schema().up()` once",
        )),
        Some(found) if found < VERSION => Err(StoreError::new(
            StoreErrorKind::SchemaTooOld,
            format!(
                "the inbox tables have version {found} and this release needs {VERSION}: run \
                 `tower-inbox migrate` or call the store's `schema().up()`"
            ),
        )),
        Some(found) if found > VERSION => Err(StoreError::new(
            StoreErrorKind::SchemaTooNew,
            format!(
                "the inbox tables have version {found}, made by a newer release, and this one \
                 knows only {VERSION}: update tower-inbox here"
            ),
        )),
        Some(_) => Ok(()),
    }
}

fn migrator(steps: &[Step], table: &'static str) -> Migrator {
    let migrations = steps
        .iter()
        .flat_map(|step| {
            [(MigrationType::ReversibleUp, step.up), (MigrationType::ReversibleDown, step.down)]
                .map(|(kind, sql)| {
                    let sql = AssertSqlSafe(sql).into_sql_str();
                    Migration::new(step.version, step.description.into(), kind, sql, false)
                })
        })
        .collect();
    let mut migrator = Migrator::with_migrations(migrations);
    migrator.dangerous_set_table_name(table);
    migrator
}

fn failed(error: MigrateError, classify: fn(sqlx::Error, &str) -> StoreError) -> StoreError {
    match error {
        MigrateError::Execute(error) => classify(error, "could not migrate the inbox tables"),
        MigrateError::ExecuteMigration(error, version) => classify(
            error,
            &format!("could not run migration {version} of the inbox tables; it was rolled back"),
        ),
        MigrateError::VersionMissing(found) => check(Some(found)).err().unwrap_or_else(|| {
            StoreError::new(
                StoreErrorKind::SchemaTooNew,
                format!("the inbox tables have a version {found} that this release does not know"),
            )
        }),
        error => StoreError::new(StoreErrorKind::Other, "could not migrate the inbox tables")
            .with_source(error),
    }
}
