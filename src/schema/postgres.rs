use sqlx::{Connection, PgConnection, PgPool, Row};

use super::{Step, VERSION, check, failed, migrator, one_transaction};
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
            version: 2,
            description: "records",
            up: include_str!("../../migrations/postgres/0002_records.up.sql"),
            down: include_str!("../../migrations/postgres/0002_records.down.sql"),
        },
        Step {
            version: 3,
            description: "batch",
            up: include_str!("../../migrations/postgres/0003_batch.up.sql"),
            down: include_str!("../../migrations/postgres/0003_batch.down.sql"),
        },
        Step {
            version: 4,
            description: "claim",
            up: include_str!("../../migrations/postgres/0004_claim.up.sql"),
            down: include_str!("../../migrations/postgres/0004_claim.down.sql"),
        },
        Step {
            version: 5,
            description: "buckets",
            up: include_str!("../../migrations/postgres/0005_buckets.up.sql"),
            down: include_str!("../../migrations/postgres/0005_buckets.down.sql"),
        },
        Step {
            version: 6,
            description: "events",
            up: include_str!("../../migrations/postgres/0006_events.up.sql"),
            down: include_str!("../../migrations/postgres/0006_events.down.sql"),
        },
        Step {
            version: 7,
            description: "plans",
            up: include_str!("../../migrations/postgres/0007_plans.up.sql"),
            down: include_str!("../../migrations/postgres/0007_plans.down.sql"),
        },
    ];

    pub(crate) fn new(pool: PgPool, classify: fn(sqlx::Error, &str) -> StoreError) -> Self {
        Self { pool, classify }
    }

    /// Brings the tables up to this release. Doing it again changes nothing; two processes at once
    /// take turns.
    ///
    /// Needs the right to create a schema. Works through a pooler in transaction mode.
    ///
    /// # Cancellation
    ///
    /// It is one transaction: dropping the future leaves all or nothing.
    pub async fn up(&self) -> Result<(), StoreError> {
        let mut connection = self.own_connection().await?;
        one_transaction::up(&mut connection, &migrator(Self::STEPS, TABLE), SCHEMA, TABLE)
            .await
            .map_err(|error| failed(error, self.classify))?;
        connection.close().await.map_err(|error| self.error(error))
    }

    /// Takes the tables away down to a version; 0 removes the schema as well. Every claim above it
    /// is lost: stop the consumers first.
    ///
    /// # Cancellation
    ///
    /// It is one transaction: dropping the future leaves all or nothing.
    pub async fn down(&self, version: i64) -> Result<(), StoreError> {
        let mut connection = self.own_connection().await?;
        let migrator = migrator(Self::STEPS, TABLE);
        one_transaction::down(&mut connection, &migrator, SCHEMA, TABLE, version)
            .await
            .map_err(|error| failed(error, self.classify))?;
        connection.close().await.map_err(|error| self.error(error))
    }

    /// The version found, `None` where there are no tables.
    pub async fn version(&self) -> Result<Option<i64>, StoreError> {
        // Simple queries: no plan is kept, for the table may come and go between two calls, and no
        // pooler can put another session between parsing and executing.
        let there: bool = sqlx::raw_sql("select to_regclass('tower_inbox.migrations') is not null")
            .fetch_one(&self.pool)
            .await
            .and_then(|row| row.try_get(0))
            .map_err(|error| self.error(error))?;
        if !there {
            return Ok(None);
        }
        sqlx::raw_sql("select max(version) from tower_inbox.migrations where success")
            .fetch_one(&self.pool)
            .await
            .and_then(|row| row.try_get(0))
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

    /// A connection of our own: it is closed, and the transaction with it, where a future that is
    /// dropped would leave it to the pool in a state that sqlx 0.9.0 loses track of.
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
