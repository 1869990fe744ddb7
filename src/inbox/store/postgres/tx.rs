use sqlx::{PgConnection, Postgres};
use sqlx_core::transaction::TransactionManager;

use super::error::classify;
use crate::{
    error::{StoreError, StoreErrorKind},
    hook::BoxFuture,
    inbox::store::{
        OpenTx,
        sql_tx::{Driver, Ended, Held},
    },
};

impl Driver for Postgres {
    const LOSES_TRACK: bool = true;
}

pub(super) struct PgTx(pub(super) Held<Postgres>);

impl OpenTx<PgConnection> for PgTx {
    fn connection(&self) -> &PgConnection {
        self.0.connection()
    }

    fn connection_mut(&mut self) -> &mut PgConnection {
        self.0.connection_mut()
    }

    /// # Why not `COMMIT`
    ///
    /// In a transaction in which a statement failed, PostgreSQL answers `COMMIT` with success and
    /// rolls back. A handler that swallowed an error and returned `Ok` would have its message
    /// acknowledged and lost. `select` fails there; and `commit and chain` fails where the handler
    /// ended the transaction itself. The chained transaction is empty, and closed by the rollback
    /// that the drop queues, in the round trip in which the pool takes the connection back anyway.
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
                    sqlx::raw_sql("select;commit and chain").execute(connection).await?;
                    Ok(Ended::Chained)
                })
                .await
                .map_err(|error| classify(error, "could not commit the message"))
        })
    }

    fn rollback(self: Box<Self>) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(async move {
            self.0
                .end(async |connection| {
                    use sqlx::postgres::PgTransactionManager as Manager;
                    while Manager::get_transaction_depth(connection) > 0 {
                        Manager::rollback(connection).await?;
                    }
                    Ok(Ended::Idle)
                })
                .await
                .map_err(|error| classify(error, "could not roll the message back"))
        })
    }
}
