use std::{
    pin::pin,
    task::{Context, Waker},
};

use sqlx::{AssertSqlSafe, SqlSafeStr, Sqlite, SqliteConnection, sqlite::SqliteTransactionManager};
use sqlx_core::{sql_str::SqlStr, transaction::TransactionManager};

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

    fn queue_rollback(connection: &mut SqliteConnection) {
        // `begin immediate;insert …` whose insert failed is a transaction that the worker does not
        // count. The first poll sends the command; where there is no transaction it fails, unheard.
        let rollback = pin!(sqlx::raw_sql("rollback").execute(connection));
        let _ = rollback.poll(&mut Context::from_waker(Waker::noop()));
    }

    fn send_queued(_: &mut SqliteConnection) {
        // The worker thread has it.
    }

    async fn begin_in_place(_: &mut SqliteConnection, _: SqlStr) -> Result<(), sqlx::Error> {
        // Never asked for: it always counts what there is.
        Err(sqlx::Error::InvalidSavePointStatement)
    }

    fn count_none(_: &mut SqliteConnection) {
        // The same.
    }
}

pub(super) struct SqliteTx(Held<Sqlite>);

/// Begins as the writer, so that nothing fails half-way for want of the lock.
pub(super) async fn begin(store: &SqliteStore) -> Result<SqliteTx, StoreError> {
    begin_on(acquire(store).await?).await
}

async fn begin_on(mut held: Held<Sqlite>) -> Result<SqliteTx, StoreError> {
    held.begin("begin immediate".into_sql_str())
        .await
        .map_err(|error| classify(error, "could not begin a transaction"))?;
    Ok(SqliteTx(held))
}

/// What came of a begin with an insert.
pub(super) enum Inserted {
    /// Both worked.
    Yes(SqliteTx),
    /// A unique key was in the way. The transaction began again without the insert.
    Conflict(SqliteTx),
}

/// Begins and runs one more statement in the same visit to the connection's thread. The statement
/// must be an `insert or rollback`.
pub(super) async fn begin_with_insert(
    store: &SqliteStore,
    insert: String,
) -> Result<Inserted, StoreError> {
    let mut held = acquire(store).await?;
    let statement = AssertSqlSafe(format!("begin immediate;{insert}")).into_sql_str();
    let Err(error) = held.begin(statement).await else {
        return Ok(Inserted::Yes(SqliteTx(held)));
    };
    if error.as_database_error().is_some_and(|error| error.is_unique_violation()) {
        return begin_on(held).await.map(Inserted::Conflict);
    }
    // A full disk, say: the begin may have succeeded before the insert failed.
    sqlx::raw_sql("rollback").execute(held.connection_mut()).await.ok();
    Err(classify(error, "could not claim the message"))
}

async fn acquire(store: &SqliteStore) -> Result<Held<Sqlite>, StoreError> {
    let failed = |error| classify(error, "could not get the connection");
    let held = match &store.shelf {
        Some(shelf) => shelf.acquire().await,
        None => store.pool.acquire().await.map(Held::new),
    };
    // Left by a future that was dropped after SQLite had rolled its transaction back by itself.
    let fit = held.map_err(failed)?.made_fit(async |connection| reset(connection).await.map(drop));
    fit.await.map_err(failed)
}

/// Rolls back whatever the driver thinks is open.
///
/// On a full disk and some other errors SQLite rolls the whole transaction back by itself
/// (<https://www.sqlite.org/lang_transaction.html#response_to_errors_within_a_transaction>). sqlx
/// 0.9.0 still counts it as open then, its `rollback` fails for want of one, and the connection could
/// never begin again. So it gets one.
///
/// Says whether there was one all the time.
async fn reset(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let mut open = true;
    while SqliteTransactionManager::get_transaction_depth(connection) > 0 {
        if SqliteTransactionManager::rollback(connection).await.is_err() {
            open = false;
            sqlx::raw_sql("begin").execute(&mut *connection).await?;
            SqliteTransactionManager::rollback(connection).await?;
        }
    }
    Ok(open)
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
            let mut open = true;
            let ended = self.0.end(async |connection| {
                let committed = SqliteTransactionManager::commit(connection).await;
                match reset(connection).await {
                    Ok(was_open) => {
                        open = was_open;
                        (committed, After::Keep)
                    }
                    Err(error) => (committed.and(Err(error)), After::Close),
                }
            });
            let failed = |error| classify(error, "could not commit the message");
            ended.await.map_err(failed).map_err(|error| match error.kind() {
                // A full disk ends it, too, and is the news.
                StoreErrorKind::Other if !open => StoreError::new(
                    StoreErrorKind::Aborted,
                    "the transaction had ended before its commit",
                )
                .with_source(error),
                _ => error,
            })
        })
    }

    fn rollback(self: Box<Self>) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(async move {
            self.0
                .end(async |connection| match reset(connection).await {
                    Ok(_) => (Ok(()), After::Keep),
                    Err(error) => (Err(error), After::Close),
                })
                .await
                .map_err(|error| classify(error, "could not roll the message back"))
        })
    }
}
