use sqlx::{SqliteConnection, SqliteExecutor};

use super::{
    SqliteStore,
    claim::{Holder, holder, take},
    error::classify,
    tx,
};
use crate::{
    error::StoreError,
    inbox::store::{Attempts, Begun, Burial, ConsumerId, Failure, OpenTx},
    key::InboxKey,
};

pub(super) async fn begin_attempt(
    store: &SqliteStore,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<Begun, StoreError> {
    let mut tx = tx::begin(store).await?;
    let now = store.now();
    match holder(tx.connection_mut(), consumer, key, now).await.map_err(failed)? {
        Holder::Claim(_) => Box::new(tx).rollback().await.map(|()| Begun::Handled),
        Holder::Lease => Box::new(tx).rollback().await.map(|()| Begun::InFlight),
        Holder::Nobody => {
            let (started, finished) = sqlx::query_as(include_str!("sql/begin_attempt.sql"))
                .bind(consumer.get())
                .bind(key.as_bytes().as_slice())
                .bind(now.floor())
                .fetch_one(tx.connection_mut())
                .await
                .map_err(failed)?;
            Box::new(tx).commit().await?;
            Ok(Begun::Counted(Attempts::new(started, finished)))
        }
    }
}

pub(super) async fn withdraw_attempt(
    store: &SqliteStore,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<(), StoreError> {
    sqlx::query(include_str!("sql/withdraw_attempt.sql"))
        .bind(consumer.get())
        .bind(key.as_bytes().as_slice())
        .execute(&store.pool)
        .await
        .map(drop)
        .map_err(failed)
}

pub(super) async fn fail_attempt(
    store: &SqliteStore,
    failure: Failure,
) -> Result<Attempts, StoreError> {
    let (started, finished) = sqlx::query_as(include_str!("sql/fail_attempt.sql"))
        .bind(failure.consumer.get())
        .bind(failure.key.as_bytes().as_slice())
        .bind(failure.reason)
        .bind(i64::from(!failure.begun))
        .bind(store.now().floor())
        .fetch_one(&store.pool)
        .await
        .map_err(failed)?;
    Ok(Attempts::new(started, finished))
}

pub(super) async fn forget_attempts(
    connection: &mut SqliteConnection,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<(), StoreError> {
    forget_letter(&mut *connection, consumer, key).await.map_err(failed)?;
    forget_in(connection, consumer, key).await.map_err(failed)
}

pub(super) async fn drop_attempts(
    store: &SqliteStore,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<(), StoreError> {
    forget_letter(&store.pool, consumer, key).await.map_err(failed)?;
    forget_in(&store.pool, consumer, key).await.map_err(failed)
}

pub(super) async fn bury(store: &SqliteStore, burial: Burial) -> Result<bool, StoreError> {
    let failed = |error| classify(error, "could not put a message among the dead letters");
    let Burial { consumer, key, window, attempts, reason, payload } = burial;
    let mut tx = tx::begin(store).await?;
    let now = store.now();
    let Holder::Nobody = holder(tx.connection_mut(), consumer, key, now).await.map_err(failed)?
    else {
        return Box::new(tx).rollback().await.map(|()| false);
    };
    let until = now.after(window);
    take(tx.connection_mut(), consumer, key, until).await.map_err(failed)?;
    sqlx::query(include_str!("sql/forget_lease.sql"))
        .bind(consumer.get())
        .bind(key.as_bytes().as_slice())
        .execute(tx.connection_mut())
        .await
        .map_err(failed)?;
    let first_at: Option<i64> = sqlx::query_scalar(include_str!("sql/first_attempt.sql"))
        .bind(consumer.get())
        .bind(key.as_bytes().as_slice())
        .fetch_optional(tx.connection_mut())
        .await
        .map_err(failed)?;
    forget_in(tx.connection_mut(), consumer, key).await.map_err(failed)?;
    sqlx::query(include_str!("sql/bury.sql"))
        .bind(consumer.get())
        .bind(key.as_bytes().as_slice())
        .bind(attempts.started)
        .bind(attempts.finished)
        .bind(first_at.unwrap_or(now.floor()))
        .bind(now.floor())
        .bind(until)
        .bind(reason)
        .bind(payload)
        .execute(tx.connection_mut())
        .await
        .map_err(failed)?;
    Box::new(tx).commit().await?;
    Ok(true)
}

pub(super) async fn buried(
    store: &SqliteStore,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<Option<Attempts>, StoreError> {
    let found: Option<(u32, u32)> = sqlx::query_as(include_str!("sql/buried.sql"))
        .bind(consumer.get())
        .bind(key.as_bytes().as_slice())
        .fetch_optional(&store.pool)
        .await
        .map_err(|error| classify(error, "could not look a dead letter up"))?;
    Ok(found.map(|(started, finished)| Attempts::new(started, finished)))
}

pub(super) async fn forget_letter<'c>(
    executor: impl SqliteExecutor<'c>,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<(), sqlx::Error> {
    sqlx::query(include_str!("sql/forget_letter.sql"))
        .bind(consumer.get())
        .bind(key.as_bytes().to_vec())
        .execute(executor)
        .await
        .map(drop)
}

pub(super) async fn forget_in<'c>(
    executor: impl SqliteExecutor<'c>,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<(), sqlx::Error> {
    sqlx::query(include_str!("sql/forget_attempts.sql"))
        .bind(consumer.get())
        .bind(key.as_bytes().to_vec())
        .execute(executor)
        .await
        .map(drop)
}

fn failed(error: sqlx::Error) -> StoreError {
    classify(error, "could not count an attempt at a message")
}
