use sqlx::{PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

use super::{
    PgStore,
    claim::{self, lock_id},
    error::classify,
    lease::earlier,
    statement::Statement,
    sweep::seconds,
};
use crate::{
    error::StoreError,
    hook::BoxFuture,
    inbox::store::{Attempt, Attempts, Begun, Burial, Buried, ConsumerId, Failure, PoisonStore},
    key::InboxKey,
};

#[deny(clippy::missing_trait_methods)]
impl PoisonStore for PgStore {
    fn begin_attempt(&self, attempt: Attempt) -> BoxFuture<'static, Result<Begun, StoreError>> {
        let store = self.clone();
        Box::pin(async move { begin_attempt(&store, attempt).await })
    }

    fn withdraw_attempt(
        &self,
        consumer: ConsumerId,
        key: InboxKey,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let store = self.clone();
        Box::pin(async move { withdraw_attempt(&store, consumer, key).await })
    }

    fn fail_attempt(&self, failure: Failure) -> BoxFuture<'static, Result<Attempts, StoreError>> {
        let store = self.clone();
        Box::pin(async move { fail_attempt(&store, failure).await })
    }

    fn forget_attempts<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        consumer: ConsumerId,
        key: InboxKey,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(forget_attempts(connection, consumer, key))
    }

    fn drop_attempts(
        &self,
        consumer: ConsumerId,
        key: InboxKey,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let store = self.clone();
        Box::pin(async move { drop_attempts(&store, consumer, key).await })
    }

    fn begin_together(
        &self,
        consumer: ConsumerId,
        keys: Vec<InboxKey>,
        mark: bool,
    ) -> BoxFuture<'static, Result<Vec<bool>, StoreError>> {
        let store = self.clone();
        Box::pin(async move { begin_together(&store, consumer, &keys, mark).await })
    }

    fn end_together<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        consumer: ConsumerId,
        keys: Vec<InboxKey>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { end_together(connection, consumer, &keys).await })
    }

    fn bury(&self, burial: Burial) -> BoxFuture<'static, Result<bool, StoreError>> {
        let store = self.clone();
        Box::pin(async move { bury(&store, burial).await })
    }

    fn buried(
        &self,
        consumer: ConsumerId,
        key: InboxKey,
    ) -> BoxFuture<'static, Result<Buried, StoreError>> {
        let store = self.clone();
        Box::pin(async move { buried(&store, consumer, key).await })
    }
}

async fn begin_attempt(store: &PgStore, attempt: Attempt) -> Result<Begun, StoreError> {
    let Attempt { consumer, key, limit, presumed_dead_after } = attempt;
    let row = Statement::new(include_str!("sql/begin_attempt.sql"))
        .value(consumer.get())
        .value(key)
        .value(lock_id(consumer, key))
        .value(i32::try_from(limit).unwrap_or(i32::MAX))
        .value(seconds(presumed_dead_after))
        .value(store.now())
        .fetch_often(store)
        .await
        .map_err(failed)?;
    Ok(match row.try_get::<i32, _>(0).map_err(failed)? {
        0 => Begun::Counted(attempts(&row, 1).map_err(failed)?),
        1 => Begun::Handled(earlier(row.try_get(3).map_err(failed)?)),
        _ => Begun::InFlight,
    })
}

async fn withdraw_attempt(
    store: &PgStore,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<(), StoreError> {
    Statement::new(include_str!("sql/withdraw_attempt.sql"))
        .value(consumer.get())
        .value(key)
        .execute(&store.pool)
        .await
        .map(drop)
        .map_err(failed)
}

async fn fail_attempt(store: &PgStore, failure: Failure) -> Result<Attempts, StoreError> {
    Statement::new(include_str!("sql/fail_attempt.sql"))
        .value(failure.consumer.get())
        .value(failure.key)
        .value(&*text(&failure.reason))
        .value(i32::from(!failure.begun))
        .value(store.now())
        .fetch_often(store)
        .await
        .and_then(|row| attempts(&row, 0))
        .map_err(failed)
}

async fn forget_attempts(
    connection: &mut PgConnection,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<(), StoreError> {
    Statement::new(include_str!("sql/forget_attempts.sql"))
        .value(consumer.get())
        .value(key)
        .execute_in(connection)
        .await
        .map(drop)
        .map_err(failed)
}

async fn drop_attempts(
    store: &PgStore,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<(), StoreError> {
    Statement::new(include_str!("sql/forget_attempts.sql"))
        .value(consumer.get())
        .value(key)
        .execute(&store.pool)
        .await
        .map(drop)
        .map_err(failed)
}

async fn begin_together(
    store: &PgStore,
    consumer: ConsumerId,
    keys: &[InboxKey],
    mark: bool,
) -> Result<Vec<bool>, StoreError> {
    Statement::new(include_str!("sql/begin_together.sql"))
        .value(consumer.get())
        .value(keys)
        .value(mark)
        .value(store.now())
        .fetch_often(store)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)
}

async fn end_together(
    connection: &mut PgConnection,
    consumer: ConsumerId,
    keys: &[InboxKey],
) -> Result<(), StoreError> {
    Statement::new(include_str!("sql/end_together.sql"))
        .value(consumer.get())
        .value(keys)
        .execute_in(connection)
        .await
        .map(drop)
        .map_err(failed)
}

/// In a transaction of our own: with bound values, because sqlx and the server log statements, and a
/// payload does not belong into a log.
async fn bury(store: &PgStore, burial: Burial) -> Result<bool, StoreError> {
    let failed = |error| classify(error, "could not put a message among the dead letters");
    let mut tx = claim::begin(store).await?;
    let buried = sqlx::query_scalar(include_str!("sql/bury.sql"))
        .persistent(false)
        .bind(burial.consumer.get())
        .bind(Uuid::from(burial.key))
        .bind(burial.window.as_secs().cast_signed())
        .bind(lock_id(burial.consumer, burial.key))
        .bind(text(&burial.reason))
        .bind(burial.payload)
        .bind(burial.attempts.started.cast_signed())
        .bind(burial.attempts.finished.cast_signed())
        .bind(store.now())
        .fetch_one(tx.connection_mut())
        .await
        .map_err(failed)?;
    tx.commit().await?;
    Ok(buried)
}

async fn buried(
    store: &PgStore,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<Buried, StoreError> {
    Statement::new(include_str!("sql/buried.sql"))
        .value(consumer.get())
        .value(key)
        .fetch_optional(&store.pool)
        .await
        .and_then(|row| match row {
            None => Ok(Buried::No),
            Some(row) if row.try_get(2)? => Ok(Buried::Freed),
            Some(row) => attempts(&row, 0).map(Buried::Dead),
        })
        .map_err(|error| classify(error, "could not look a dead letter up"))
}

/// Two columns, from one on.
fn attempts(row: &PgRow, column: usize) -> Result<Attempts, sqlx::Error> {
    let (started, finished): (i32, i32) = (row.try_get(column)?, row.try_get(column + 1)?);
    Ok(Attempts::new(started.cast_unsigned(), finished.cast_unsigned()))
}

/// PostgreSQL's text cannot hold the character 0, and an error's text is anybody's.
fn text(reason: &str) -> String {
    reason.replace('\0', "\u{fffd}")
}

fn failed(error: sqlx::Error) -> StoreError {
    classify(error, "could not count an attempt at a message")
}
