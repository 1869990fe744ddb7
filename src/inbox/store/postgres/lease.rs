use std::time::Duration;

use sqlx::{PgExecutor, Row};

use super::{PgStore, claim::lock_id, error, retry::retry};
use crate::{
    error::StoreError,
    inbox::store::{Deed, Earlier, Grant, LeaseClaimed, LeaseRequest},
};

pub(super) async fn lease(
    store: &PgStore,
    request: &LeaseRequest,
) -> Result<LeaseClaimed, StoreError> {
    let classify = |error| error::classify(error, "could not lease the message");
    let row = retry!(
        sqlx::query(include_str!("sql/lease.sql"))
            .persistent(store.prepared)
            .bind(request.consumer.get())
            .bind(uuid::Uuid::from(request.key))
            .bind(request.lease.as_secs().cast_signed())
            .bind(lock_id(request.consumer, request.key))
            .bind(&*request.owner)
            .bind(store.now())
            .fetch_one(&store.pool)
            .await
    )
    .map_err(classify)?;
    Ok(match row.try_get::<i32, _>(0).map_err(classify)? {
        0 => {
            let token = row.try_get(1).map_err(classify)?;
            let attempt: i32 = row.try_get(2).map_err(classify)?;
            LeaseClaimed::Granted(Grant::new(
                request.consumer,
                request.key,
                token,
                attempt.cast_unsigned(),
            ))
        }
        1 => {
            // Null, or before our time, where the window was changed.
            let age: Option<i64> = row.try_get(1).map_err(classify)?;
            let age = age.and_then(|seconds| u64::try_from(seconds).ok());
            LeaseClaimed::Duplicate(age.map_or_else(Earlier::unknown, |seconds| {
                Earlier::ago(Duration::from_secs(seconds))
            }))
        }
        _ => LeaseClaimed::InFlight,
    })
}

pub(super) async fn settle(store: &PgStore, grant: Grant, deed: Deed) -> Result<bool, StoreError> {
    retry!(settle_in(store, &store.pool, grant, deed).await)
        .map_err(|error| error::classify(error, "could not settle the lease"))
}

pub(super) async fn settle_in<'c>(
    store: &PgStore,
    executor: impl PgExecutor<'c>,
    grant: Grant,
    deed: Deed,
) -> Result<bool, sqlx::Error> {
    let (deed, seconds) = match deed {
        Deed::Complete(window) => ("complete", window.as_secs()),
        Deed::Release => ("release", 0),
        Deed::Extend(lease) => ("extend", lease.as_secs()),
    };
    sqlx::query_scalar(include_str!("sql/settle.sql"))
        .persistent(store.prepared)
        .bind(deed)
        .bind(grant.consumer.get())
        .bind(uuid::Uuid::from(grant.key))
        .bind(grant.token)
        .bind(seconds.cast_signed())
        .bind(store.now())
        .fetch_one(executor)
        .await
}
