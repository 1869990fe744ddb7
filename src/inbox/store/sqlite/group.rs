use sqlx::{AssertSqlSafe, SqliteConnection, sqlite::SqliteTransactionManager};
use sqlx_core::transaction::TransactionManager;

use super::{SqliteStore, claim::contend_in, error::classify};
use crate::{
    error::{StoreError, StoreErrorKind},
    hook::BoxFuture,
    inbox::store::{Claim, GroupStore, KeyClaimed},
};

/// With savepoints. Where a handler ended the transaction, or SQLite did so by itself, the savepoint
/// is gone with it, and the next statement about it says so.
#[deny(clippy::missing_trait_methods)]
impl GroupStore for SqliteStore {
    fn begin_message<'a>(
        &'a self,
        connection: &'a mut SqliteConnection,
        claim: Option<Claim>,
    ) -> BoxFuture<'a, Result<KeyClaimed, StoreError>> {
        Box::pin(async move {
            let Some(claim) = claim else {
                return run(connection, BEGIN).await.map(|()| KeyClaimed::Won);
            };
            let now = self.now();
            // One visit to the connection's thread; integers and hexadecimal digits of our own making.
            let insert = format!(
                "{BEGIN};insert into tower_inbox_inbox (consumer, key, expires_at) \
                 values ({}, x'{:032x}', {}) on conflict do nothing returning 1",
                claim.consumer,
                u128::from_be_bytes(*claim.key.as_bytes()),
                now.after(claim.window),
            );
            let inserted = sqlx::raw_sql(AssertSqlSafe(insert)).fetch_all(&mut *connection).await;
            if !inserted.map_err(failed)?.is_empty() {
                return Ok(KeyClaimed::Won);
            }
            let answer = contend_in(connection, claim, now).await?;
            if answer != KeyClaimed::Won {
                run(connection, UNDO).await?;
            }
            Ok(answer)
        })
    }

    fn keep_message<'a>(
        &'a self,
        connection: &'a mut SqliteConnection,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            if SqliteTransactionManager::get_transaction_depth(connection) != 1 {
                return Err(StoreError::new(
                    StoreErrorKind::Aborted,
                    "the handler returned success with a savepoint still open",
                ));
            }
            run(connection, KEEP).await
        })
    }

    fn undo_message<'a>(
        &'a self,
        connection: &'a mut SqliteConnection,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            // Savepoints that the handler leaked, and that sqlx counts.
            while SqliteTransactionManager::get_transaction_depth(connection) > 1 {
                SqliteTransactionManager::rollback(connection).await.map_err(failed)?;
            }
            run(connection, UNDO).await
        })
    }
}

async fn run(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), StoreError> {
    sqlx::raw_sql(sql).execute(connection).await.map(drop).map_err(failed)
}

fn failed(error: sqlx::Error) -> StoreError {
    let error = classify(error, "could not tell one message of a group from the next");
    match error.kind() {
        // There is no such savepoint: its transaction has ended.
        StoreErrorKind::Other => StoreError::new(
            StoreErrorKind::Aborted,
            "the transaction of a group of messages had ended before its commit",
        )
        .with_source(error),
        _ => error,
    }
}

const BEGIN: &str = "savepoint tower_inbox";
const KEEP: &str = "release tower_inbox";
const UNDO: &str = "rollback to tower_inbox;release tower_inbox";
