use sqlx::SqlitePool;

use super::{Step, VERSION, check, failed, migrator};
use crate::error::StoreError;

/// The tables `tower_inbox_…` in an SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteSchema {
    pool: SqlitePool,
    classify: fn(sqlx::Error, &str) -> StoreError,
}

impl SqliteSchema {
    /// The steps as plain SQL.
    ///
    /// A store also wants the note of versions that [`up`](Self::up) keeps. For another tool, print
    /// the whole script with `tower-inbox migrate --print`.
    pub const STEPS: &[Step] = &[
        Step {
            version: 1,
            description: "inbox",
            up: include_str!("../../migrations/sqlite/0001_inbox.up.sql"),
            down: include_str!("../../migrations/sqlite/0001_inbox.down.sql"),
        },
        Step {
            version: 2,
            description: "records",
            up: include_str!("../../migrations/sqlite/0002_records.up.sql"),
            down: include_str!("../../migrations/sqlite/0002_records.down.sql"),
        },
        Step {
            version: 3,
            description: "batch",
            up: include_str!("../../migrations/sqlite/0003_batch.up.sql"),
            down: include_str!("../../migrations/sqlite/0003_batch.down.sql"),
        },
        Step {
            version: 4,
            description: "claim",
            up: include_str!("../../migrations/sqlite/0004_claim.up.sql"),
            down: include_str!("../../migrations/sqlite/0004_claim.down.sql"),
        },
        Step {
            version: 5,
            description: "buckets",
            up: include_str!("../../migrations/sqlite/0005_buckets.up.sql"),
            down: include_str!("../../migrations/sqlite/0005_buckets.down.sql"),
        },
        Step {
            version: 6,
            description: "events",
            up: include_str!("../../migrations/sqlite/0006_events.up.sql"),
            down: include_str!("../../migrations/sqlite/0006_events.down.sql"),
        },
        Step {
            version: 7,
            description: "plans",
            up: include_str!("../../migrations/sqlite/0007_plans.up.sql"),
            down: include_str!("../../migrations/sqlite/0007_plans.down.sql"),
        },
    ];

    pub(crate) fn new(pool: SqlitePool, classify: fn(sqlx::Error, &str) -> StoreError) -> Self {
        Self { pool, classify }
    }

    /// Brings the tables up to this release. Doing it again changes nothing; of two
    /// processes at once one does it.
    ///
    /// # Cancellation
    ///
    /// Each step is one transaction; dropping the future leaves whole steps.
    pub async fn up(&self) -> Result<(), StoreError> {
        let mut before = self.version().await?;
        loop {
            let mut connection = self.pool.acquire().await.map_err(|error| self.error(error))?;
            let ran = migrator(Self::STEPS, TABLE).run_direct(None, &mut *connection, false).await;
            drop(connection);
            let Err(error) = ran else { return Ok(()) };
            // SQLite has no lock that makes two migrators take turns. The one that comes second
            // fails because a step is done already, which is what it wanted, and goes on from there.
            let after = self.version().await?;
            if after == Some(VERSION) {
                return Ok(());
            }
            if after <= before {
                return Err(failed(error, self.classify));
            }
            before = after;
        }
    }

    /// Takes the tables away down to a version; 0 removes the migrations table as well. Every claim
    /// above it is lost: stop the consumers first.
    pub async fn down(&self, version: i64) -> Result<(), StoreError> {
        if self.version().await?.is_none() {
            return Ok(());
        }
        let mut connection = self.pool.acquire().await.map_err(|error| self.error(error))?;
        migrator(Self::STEPS, TABLE)
            .undo(&mut *connection, version)
            .await
            .map_err(|error| failed(error, self.classify))?;
        if version == 0 {
            sqlx::raw_sql("drop table tower_inbox_migrations")
                .execute(&mut *connection)
                .await
                .map_err(|error| self.error(error))?;
        }
        Ok(())
    }

    /// The version found, `None` where there are no tables.
    pub async fn version(&self) -> Result<Option<i64>, StoreError> {
        let there: bool = sqlx::query_scalar(
            "select exists (select 1 from sqlite_schema where name = 'tower_inbox_migrations')",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(|error| self.error(error))?;
        if !there {
            return Ok(None);
        }
        sqlx::query_scalar("select max(version) from tower_inbox_migrations where success")
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

    fn error(&self, error: sqlx::Error) -> StoreError {
        (self.classify)(error, "could not read the version of the inbox tables")
    }
}

const TABLE: &str = "tower_inbox_migrations";
