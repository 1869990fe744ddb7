use sqlx::{AssertSqlSafe, SqlSafeStr, Sqlite, SqliteConnection, sqlite::SqliteTransactionManager};
use sqlx_core::transaction::TransactionManager;

use super::{SqliteStore, error::classify};
use crate::{
    error::{StoreError, StoreErrorKind},
    hook::BoxFuture,
    inbox::store::{
        OpenTx,
        sql_tx::{Driver, Ended, Held},
    },
};

impl Driver for Sqlite {
    // Its worker thread undoes a begin that nobody waits for any more.
    const LOSES_TRACK: bool = false;
}

pub(super) struct SqliteTx(Held<Sqlite>);

/// Begins as the writer, so that nothing fails half-way for want of the lock.
pub(super) async fn begin(store: &SqliteStore) -> Result<SqliteTx, StoreError> {
    let mut held = acquire(store).await?;
    held.begin("begin immediate".into_sql_str())
        .await
        .map_err(|error| classify(error, "could not begin a transaction"))?;
    Ok(SqliteTx(held))
}

/// Begins and runs one more statement in the same visit to the connection's thread. `None` when a
/// unique key was in the way; the statement must be an `insert or rollback`.
pub(super) async fn begin_with_insert(
    store: &SqliteStore,
    insert: String,
) -> Result<Option<SqliteTx>, StoreError> {
    let mut held = acquire(store).await?;
    let statement = AssertSqlSafe(format!("begin immediate;{insert}")).into_sql_str();
    let Err(error) = held.begin(statement).await else {
        return Ok(Some(SqliteTx(held)));
    };
    if error.as_database_error().is_some_and(|error| error.is_unique_violation()) {
        return Ok(None);
    }
    // A full disk, say: the begin may have succeeded before the insert failed.
    sqlx::raw_sql("rollback").execute(held.connection_mut()).await.ok();
    Err(classify(error, "could not claim the message"))
}

async fn acquire(store: &SqliteStore) -> Result<Held<Sqlite>, StoreError> {
    let connection = store
        .pool
        .acquire()
        .await
        .map_err(|error| classify(error, "could not get the connection"))?;
    Ok(Held::new(connection))
}

impl OpenTx<SqliteConnection> for SqliteTx {
    fn connection(&self) -> &SqliteConnection {
        self.0.connection()
    }

    fn connection_mut(&mut self) -> &mut SqliteConnection {
        self.0.connection_mut()
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(async move {
            if self.0.depth() != 1 {
                return Err(StoreError::new(
                    StoreErrorKind::Aborted,
                    "the handler returned success with a savepoint still open",
                ));
            }
            self.0
                .end(async |connection| {
                    SqliteTransactionManager::commit(connection).await?;
                    Ok(Ended::Idle)
                })
                .await
                .map_err(|error| classify(error, "could not commit the message"))
        })
    }

    fn rollback(self: Box<Self>) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(async move {
            self.0
                .end(async |connection| {
                    while SqliteTransactionManager::get_transaction_depth(connection) > 0 {
                        SqliteTransactionManager::rollback(connection).await?;
                    }
                    Ok(Ended::Idle)
                })
                .await
                .map_err(|error| classify(error, "could not roll the message back"))
        })
    }
}
