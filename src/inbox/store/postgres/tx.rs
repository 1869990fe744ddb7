use std::{
    pin::pin,
    task::{Context, Waker},
};

use sqlx::{Connection, PgConnection, Postgres, postgres::PgTransactionManager};
use sqlx_core::{sql_str::SqlStr, transaction::TransactionManager};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::error::classify;
use crate::{
    error::{StoreError, StoreErrorKind},
    hook::BoxFuture,
    inbox::store::{
        OpenTx,
        sql_tx::{After, Driver, Held},
    },
};

impl Driver for Postgres {
    const LOSES_TRACK: bool = true;

    fn queue_rollback(_: &mut PgConnection) {
        // Never asked for: a connection that lost track is closed.
    }

    /// The pool sends it in a task of its own. A runtime with one thread runs that task when it is
    /// driven the next time, which for a program that blocks on one message after the other is the
    /// next message. Until then the transaction would be open: its locks held if it was rolled back,
    /// and a pooler's session pinned to us in any case.
    fn send_queued(connection: &mut PgConnection) {
        let one_thread = Handle::try_current()
            .is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::CurrentThread);
        if one_thread {
            // The first poll writes. The pool reads the answer.
            let _ = pin!(connection.ping()).poll(&mut Context::from_waker(Waker::noop()));
        }
    }

    async fn begin_in_place(
        connection: &mut PgConnection,
        statement: SqlStr,
    ) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(statement).execute(connection).await.map(drop)
    }

    fn count_none(connection: &mut PgConnection) {
        if PgTransactionManager::get_transaction_depth(connection) == 0 {
            return;
        }
        // The driver counts down with a rollback only, and PostgreSQL warns of one without a
        // transaction. So it gets one. The first poll writes; the pool reads the answers to both.
        let _ = pin!(sqlx::raw_sql("begin").execute(&mut *connection))
            .poll(&mut Context::from_waker(Waker::noop()));
        PgTransactionManager::start_rollback(connection);
    }
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
    /// acknowledged and lost. `savepoint` fails there, at less cost than any query, and where the
    /// handler ended the transaction itself. The chained transaction is empty, and closed by the
    /// rollback that the drop queues, in the round trip in which the pool takes the connection back
    /// anyway. (sqlx counts transactions, and counts down by queueing a rollback, which without a
    /// transaction would be a warning in the server's log.)
    ///
    /// Where the connection goes to another delivery, nothing is queued: the chained transaction is
    /// closed with the commit, and the next claim begins in the place of the one that sqlx counts.
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(async move {
            if self.0.depth() != 1 {
                return Err(StoreError::new(
                    StoreErrorKind::Aborted,
                    "the handler returned success with a savepoint still open",
                ));
            }
            let stays = self.0.may_be_kept();
            self.0
                .end(async |connection| {
                    let commit = if stays {
                        "savepoint s;commit and chain;rollback"
                    } else {
                        "savepoint s;commit and chain"
                    };
                    let ended = sqlx::raw_sql(commit).execute(connection).await;
                    let after = match &ended {
                        Ok(_) if stays => After::Keep,
                        // The chained transaction, or the failed one.
                        Ok(_) | Err(sqlx::Error::Database(_)) => After::RollBack,
                        Err(_) => After::Close,
                    };
                    (ended.map(drop), after)
                })
                .await
                .map_err(|error| classify(error, "could not commit the message"))
        })
    }

    fn rollback(self: Box<Self>) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(async move {
            self.0
                .end(async |connection| {
                    while PgTransactionManager::get_transaction_depth(connection) > 0 {
                        if let Err(error) = PgTransactionManager::rollback(connection).await {
                            return (Err(error), After::Close);
                        }
                    }
                    (Ok(()), After::Keep)
                })
                .await
                .map_err(|error| classify(error, "could not roll the message back"))
        })
    }
}
