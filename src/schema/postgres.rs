use sqlx::{Connection, PgConnection, PgPool};

use super::{Step, VERSION, check, failed, migrator};
use crate::error::StoreError;

/// The tables in PostgreSQL's schema `tower_inbox`.
#[derive(Debug, Clone)]
pub struct PgSchema {
    pool: PgPool,
    classify: fn(sqlx::Error, &str) -> StoreError,
}

impl PgSchema {
    /// The steps as plain SQL; `up` expects the schema `tower_inbox` to exist.
    ///
    /// A store also wants the note of versions that [`up`](Self::up) keeps. For another tool, print
    /// the whole script with `tower-inbox migrate --print`.
    pub const STEPS: &[Step] = &[
        Step {
            version: 1,
            description: "inbox",
            up: include_str!("../../migrations/postgres/0001_inbox.up.sql"),
            down: include_str!("../../migrations/postgres/0001_inbox.down.sql"),
        },
        Step {
            version: 4,
            description: "batch",
            up: include_str!("../../migrations/postgres/0004_batch.up.sql"),
            down: include_str!("../../migrations/postgres/0004_batch.down.sql"),
        },
    ];

    pub(crate) fn new(pool: PgPool, classify: fn(sqlx::Error, &str) -> StoreError) -> Self {
        Self { pool, classify }
    }

    /// Brings the tables up to this release. Doing it again changes nothing; two processes at once
    /// take turns.
    ///
    /// Needs the right to create a schema, and a direct connection: behind a pooler in transaction
    /// mode the lock that makes two processes take turns does not hold.
    ///
    /// # Cancellation
    ///
    /// Each step is one transaction; dropping the future leaves whole steps.
    pub async fn up(&self) -> Result<(), StoreError> {
        let mut migrator = migrator(Self::STEPS, TABLE);
        migrator.create_schema(SCHEMA);
        let mut connection = self.own_connection().await?;
        migrator
            .run_direct(None, &mut connection, false)
            .await
            .map_err(|error| failed(error, self.classify))?;
        connection.close().await.map_err(|error| self.error(error))
    }

    /// Takes the tables away down to a version; 0 removes the schema as well. Every claim above it
    /// is lost: stop the consumers first.
    pub async fn down(&self, version: i64) -> Result<(), StoreError> {
        if self.version().await?.is_none() {
            return Ok(());
        }
        let migrator = migrator(Self::STEPS, TABLE);
        let mut connection = self.own_connection().await?;
        migrator
            .undo(&mut connection, version)
            .await
            .map_err(|error| failed(error, self.classify))?;
        if version == 0 {
            sqlx::raw_sql("drop table tower_inbox.migrations; drop schema tower_inbox")
                .execute(&mut connection)
                .await
                .map_err(|error| self.error(error))?;
        }
        connection.close().await.map_err(|error| self.error(error))
    }

    /// The version found, `None` where there are no tables.
    pub async fn version(&self) -> Result<Option<i64>, StoreError> {
        // One statement without a plan kept: the table may come and go between two calls.
        let there: bool =
            sqlx::query_scalar("select to_regclass('tower_inbox.migrations') is not null")
                .persistent(false)
                .fetch_one(&self.pool)
                .await
                .map_err(|error| self.error(error))?;
        if !there {
            return Ok(None);
        }
        sqlx::query_scalar("select max(version) from tower_inbox.migrations where success")
            .persistent(false)
            .fetch_one(&self.pool)
            .await
            .map_err(|error| self.error(error))
    }

    /// Refuses tables that this release cannot work with: missing, older or newer.
    pub async fn check(&self) -> Result<(), StoreError> {
        check(self.version().await?)
    }

    /// The version this release works with.
    pub const fn expected() -> i64 {
        VERSION
    }

    /// A connection of our own: the migrator's session lock outlives a failed migration, and must
    /// not go back into the pool with it.
    async fn own_connection(&self) -> Result<PgConnection, StoreError> {
        let connection = self.pool.acquire().await.map_err(|error| self.error(error))?;
        Ok(connection.detach())
    }

    fn error(&self, error: sqlx::Error) -> StoreError {
        (self.classify)(error, "could not read the version of the inbox tables")
    }
}

const SCHEMA: &str = "tower_inbox";
const TABLE: &str = "tower_inbox.migrations";
