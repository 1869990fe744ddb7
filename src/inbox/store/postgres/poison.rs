use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::{PgStore, claim::lock_id, error::classify, retry::retry};
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
    let (state, started, finished): (i32, i32, i32) = retry!(
        sqlx::query_as(include_str!("sql/begin_attempt.sql"))
            .persistent(store.prepared)
            .bind(consumer.get())
            .bind(Uuid::from(key))
            .bind(lock_id(consumer, key))
            .bind(store.now())
            .fetch_one(&store.pool)
            .await
    )
    .map_err(failed)?;
    Ok(match state {
        0 => Begun::Counted(attempts(started, finished)),
        1 => Begun::Handled,
        _ => Begun::InFlight,
    })
}

pub(super) async fn withdraw_attempt(
    store: &PgStore,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<(), StoreError> {
    retry!(
        sqlx::query(include_str!("sql/withdraw_attempt.sql"))
            .persistent(store.prepared)
            .bind(consumer.get())
            .bind(Uuid::from(key))
            .execute(&store.pool)
            .await
    )
    .map(drop)
    .map_err(failed)
}

pub(super) async fn fail_attempt(
    store: &PgStore,
    failure: Failure,
) -> Result<Attempts, StoreError> {
    let (started, finished) = retry!(
        sqlx::query_as(include_str!("sql/fail_attempt.sql"))
            .persistent(store.prepared)
            .bind(failure.consumer.get())
            .bind(Uuid::from(failure.key))
            .bind(text(&failure.reason))
            .bind(i32::from(!failure.begun))
            .bind(store.now())
            .fetch_one(&store.pool)
            .await
    )
    .map_err(failed)?;
    Ok(attempts(started, finished))
}

pub(super) async fn forget_attempts(
    store: &PgStore,
    connection: &mut PgConnection,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<(), StoreError> {
    forget_in(store, connection, consumer, key).await.map_err(failed)
}

pub(super) async fn drop_attempts(
    store: &PgStore,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<(), StoreError> {
    retry!(forget_in(store, &store.pool, consumer, key).await).map_err(failed)
}

pub(super) async fn bury(store: &PgStore, burial: Burial) -> Result<bool, StoreError> {
    retry!(
        sqlx::query_scalar(include_str!("sql/bury.sql"))
            .persistent(store.prepared)
            .bind(burial.consumer.get())
            .bind(Uuid::from(burial.key))
            .bind(burial.window.as_secs().cast_signed())
            .bind(lock_id(burial.consumer, burial.key))
            .bind(text(&burial.reason))
            .bind(&burial.payload)
            .bind(burial.attempts.started.cast_signed())
            .bind(burial.attempts.finished.cast_signed())
            .bind(store.now())
            .fetch_one(&store.pool)
            .await
    )
    .map_err(|error| classify(error, "could not put a message among the dead letters"))
}

pub(super) async fn buried(
    store: &PgStore,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<Option<Attempts>, StoreError> {
    let found: Option<(i32, i32)> = sqlx::query_as(include_str!("sql/buried.sql"))
        .persistent(store.prepared)
        .bind(consumer.get())
        .bind(Uuid::from(key))
        .fetch_optional(&store.pool)
        .await
        .map_err(|error| classify(error, "could not look a dead letter up"))?;
    Ok(found.map(|(started, finished)| attempts(started, finished)))
}

async fn forget_in<'c>(
    store: &PgStore,
    executor: impl PgExecutor<'c>,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<(), sqlx::Error> {
    sqlx::query(include_str!("sql/forget_attempts.sql"))
        .persistent(store.prepared)
        .bind(consumer.get())
        .bind(Uuid::from(key))
        .execute(executor)
        .await
        .map(drop)
}

fn attempts(started: i32, finished: i32) -> Attempts {
    Attempts::new(started.cast_unsigned(), finished.cast_unsigned())
}

/// PostgreSQL's text cannot hold the character 0, and an error's text is anybody's.
fn text(reason: &str) -> String {
    reason.replace('\0', "\u{fffd}")
}

fn failed(error: sqlx::Error) -> StoreError {
    classify(error, "could not count an attempt at a message")
}
