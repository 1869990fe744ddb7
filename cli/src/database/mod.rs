//! The databases that the verbs work on.

mod location;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod table;

use std::sync::Arc;

use tower_inbox::{
    error::StoreError,
    inbox::{
        retention::Sweeper,
        store::{InboxAdmin, InboxStore, PoisonStore, RedeliveryStore, SweepStore},
    },
    key::InboxKey,
};

use crate::error::Failure;

pub(crate) use location::{DEFAULT_URL, Location, Scheme, Use};
pub(crate) use table::TableName;

/// A database that was opened.
pub(crate) enum Database {
    #[cfg(feature = "sqlite")]
    Sqlite(tower_inbox::inbox::SqliteStore),
    #[cfg(feature = "postgres")]
    Postgres(tower_inbox::inbox::PgStore),
}

/// Goes on with the store of whichever database it is.
macro_rules! with_store {
    ($database:expr, $store:ident => $then:expr) => {
        match $database {
            #[cfg(feature = "sqlite")]
            $crate::database::Database::Sqlite($store) => $then,
            #[cfg(feature = "postgres")]
            $crate::database::Database::Postgres($store) => $then,
        }
    };
}
pub(crate) use with_store;

/// What the verbs need of a database beside the library's store.
pub(crate) trait Backend:
    InboxStore + SweepStore + PoisonStore + RedeliveryStore + InboxAdmin + Clone + 'static
{
    /// Whether the tables are made and updated unasked: where the file is ours.
    const MIGRATES_UNASKED: bool;

    /// Makes what removes expired claims.
    fn sweeper(&self) -> Sweeper<Self>;

    /// The version of the tables, if there are any.
    async fn version(&self) -> Result<Option<i64>, StoreError>;

    /// Refuses tables that this release cannot work with.
    async fn check(&self) -> Result<(), StoreError>;

    /// Makes or updates the tables.
    async fn up(&self) -> Result<(), StoreError>;

    /// Takes the tables away, down to a version.
    async fn down(&self, version: i64) -> Result<(), StoreError>;

    /// Makes the table for messages if it is missing, and refuses one of another shape.
    async fn prepare_table(&self, table: &TableName) -> Result<Insert, Failure>;

    /// Writes one message into the table.
    async fn insert(
        connection: &mut Self::Connection,
        insert: &Insert,
        key: InboxKey,
        message: &str,
    ) -> Result<(), sqlx::Error>;

    /// Whether an error is about the message that was written, and not about the database: its data
    /// do not fit, or a constraint forbids it.
    fn concerns_message(error: &sqlx::Error) -> bool;

    /// Says what was being done when an error came, and of what kind it is.
    fn error(error: sqlx::Error, context: &str) -> StoreError;

    /// Lets go of the database.
    async fn close(&self);
}

/// The statement that writes one message into its table.
pub(crate) type Insert = Arc<str>;
