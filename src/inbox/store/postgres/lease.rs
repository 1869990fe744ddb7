use sqlx::Row;

use super::{
    PgStore,
    claim::{MAX_TRIES, lock_id},
    error,
};
use crate::{
    error::StoreError,
    inbox::store::{Deed, Grant, LeaseClaimed, LeaseRequest},
};

pub(super) async fn lease(
    store: &PgStore,
    request: &LeaseRequest,
) -> Result<LeaseClaimed, StoreError> {
    let classify = |error| error::classify(error, "could not lease the message");
    let mut tries = 0;
    let row = loop {
        let row = sqlx::query(include_str!("sql/lease.sql"))
            .persistent(store.prepared)
            .bind(request.consumer.get())
            .bind(uuid::Uuid::from(request.key))
            .bind(request.lease.as_secs().cast_signed())
            .bind(lock_id(request.consumer, request.key))
            .bind(&*request.owner)
            .bind(store.now())
            .fetch_one(&store.pool)
            .await;
        tries += 1;
        match row {
            Err(error) if lost_a_race(&error) && tries < MAX_TRIES => {}
            row => break row.map_err(classify)?,
        }
    };
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
        1 => LeaseClaimed::Duplicate,
        _ => LeaseClaimed::InFlight,
    })
}

pub(super) async fn settle(store: &PgStore, grant: Grant, deed: Deed) -> Result<bool, StoreError> {
    let (deed, seconds) = match deed {
        Deed::Complete(window) => ("complete", window.as_secs()),
        Deed::Release => ("release", 0),
        Deed::Extend(lease) => ("extend", lease.as_secs()),
    };
    let mut tries = 0;
    loop {
        let held = sqlx::query_scalar(include_str!("sql/settle.sql"))
            .persistent(store.prepared)
            .bind(deed)
            .bind(grant.consumer.get())
            .bind(uuid::Uuid::from(grant.key))
            .bind(grant.token)
            .bind(seconds.cast_signed())
            .bind(store.now())
            .fetch_one(&store.pool)
            .await;
        tries += 1;
        match held {
            Err(error) if lost_a_race(&error) && tries < MAX_TRIES => {}
            held => {
                return held.map_err(|error| error::classify(error, "could not settle the lease"));
            }
        }
    }
}

/// Whether a statement took no effect because another transaction was faster.
pub(super) fn lost_a_race(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some(error::SERIALIZATION_FAILURE | error::DEADLOCK))
}
