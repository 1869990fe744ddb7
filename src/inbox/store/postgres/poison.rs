use sqlx::{PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

use super::{PgStore, claim::lock_id, error::classify, statement::Statement};
use crate::{
    error::StoreError,
    inbox::store::{Attempts, Begun, Burial, ConsumerId, Failure},
    key::InboxKey,
};

pub(super) async fn begin_attempt(
    store: &PgStore,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<Begun, StoreError> {
    let row = Statement::new(include_str!("sql/begin_attempt.sql"))
        .value(consumer.get())
        .value(key)
        .value(lock_id(consumer, key))
        .value(store.now())
        .fetch_often(store)
        .await
        .map_err(failed)?;
    Ok(match row.try_get::<i32, _>(0).map_err(failed)? {
        0 => Begun::Counted(attempts(&row, 1).map_err(failed)?),
        1 => Begun::Handled,
        _ => Begun::InFlight,
    })
}

pub(super) async fn withdraw_attempt(
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

pub(super) async fn fail_attempt(
    store: &PgStore,
    failure: Failure,
) -> Result<Attempts, StoreError> {
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

pub(super) async fn forget_attempts(
    connection: &mut PgConnection,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<(), StoreError> {
    // The session is ours until the commit, but a name that sqlx gave a statement in another one
    // may be unknown in it.
    sqlx::query(include_str!("sql/forget_attempts.sql"))
        .persistent(false)
        .bind(consumer.get())
        .bind(Uuid::from(key))
        .execute(connection)
        .await
        .map(drop)
        .map_err(failed)
}

pub(super) async fn drop_attempts(
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

pub(super) async fn bury(store: &PgStore, burial: Burial) -> Result<bool, StoreError> {
    Statement::new(include_str!("sql/bury.sql"))
        .value(burial.consumer.get())
        .value(burial.key)
        .value(burial.window.as_secs().cast_signed())
        .value(lock_id(burial.consumer, burial.key))
        .value(&*text(&burial.reason))
        .value(burial.payload.as_deref())
        .value(burial.attempts.started.cast_signed())
        .value(burial.attempts.finished.cast_signed())
        .value(store.now())
        .fetch_often(store)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(|error| classify(error, "could not put a message among the dead letters"))
}

pub(super) async fn buried(
    store: &PgStore,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<Option<Attempts>, StoreError> {
    Statement::new(include_str!("sql/buried.sql"))
        .value(consumer.get())
        .value(key)
        .fetch_optional(&store.pool)
        .await
        .and_then(|row| row.map(|row| attempts(&row, 0)).transpose())
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
