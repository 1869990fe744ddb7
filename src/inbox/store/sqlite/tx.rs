use sqlx::{AssertSqlSafe, SqlSafeStr, Sqlite, SqliteConnection, sqlite::SqliteTransactionManager};
use sqlx_core::transaction::TransactionManager;

use super::{SqliteStore, error::classify};
use crate::{
    error::{StoreError, StoreErrorKind},
    hook::BoxFuture,
    inbox::store::{
        OpenTx,
        sql_tx::{After, Driver, Held},
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
    let failed = |error| classify(error, "could not get the connection");
    let mut connection = store.pool.acquire().await.map_err(failed)?;
    // Left by a future that was dropped after SQLite had rolled its transaction back by itself.
    if let Err(error) = reset(&mut connection).await {
        connection.close_on_drop();
        return Err(failed(error));
    }
    Ok(Held::new(connection))
}

/// Rolls back whatever the driver thinks is open.
///
/// On a full disk and some other errors SQLite rolls the whole transaction back by itself
/// (<https://www.sqlite.org/lang_transaction.html#response_to_errors_within_a_transaction>). sqlx
/// 0.9.0 still counts it as open then, its `rollback` fails for want of one, and the connection could
/// never begin again. So it gets one.
async fn reset(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    while SqliteTransactionManager::get_transaction_depth(connection) > 0 {
        if SqliteTransactionManager::rollback(connection).await.is_err() {
            sqlx::raw_sql("begin").execute(&mut *connection).await?;
            SqliteTransactionManager::rollback(connection).await?;
        }
    }
    Ok(())
}

async fn reset_after(
    connection: &mut SqliteConnection,
    ended: Result<(), sqlx::Error>,
) -> (Result<(), sqlx::Error>, After) {
    match reset(connection).await {
        Ok(()) => (ended, After::Keep),
        Err(error) => (ended.and(Err(error)), After::Close),
    }
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
                    let committed = SqliteTransactionManager::commit(connection).await;
                    reset_after(connection, committed).await
                })
                .await
                .map_err(|error| classify(error, "could not commit the message"))
        })
    }

    fn rollback(self: Box<Self>) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(async move {
            self.0
                .end(async |connection| reset_after(connection, Ok(())).await)
                .await
                .map_err(|error| classify(error, "could not roll the message back"))
        })
    }
}
