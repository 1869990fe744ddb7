use std::time::Duration;

use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{PgStore, claim::lock_id, error, statement::Statement};
use crate::{
    error::StoreError,
    inbox::store::{Deed, Earlier, Grant, LeaseClaimed, LeaseRequest},
};

pub(super) async fn lease(
    store: &PgStore,
    request: &LeaseRequest,
) -> Result<LeaseClaimed, StoreError> {
    let classify = |error| error::classify(error, "could not lease the message");
    let row = Statement::new(include_str!("sql/lease.sql"))
        .value(request.consumer.get())
        .value(request.key)
        .value(request.lease.as_secs().cast_signed())
        .value(lock_id(request.consumer, request.key))
        .value(&*request.owner)
        .value(store.now())
        .fetch_often(store)
        .await
        .map_err(classify)?;
    answer(&row, request).map_err(classify)
}

/// What the row says that `tower_inbox.lease` and its like return.
pub(super) fn answer(row: &PgRow, request: &LeaseRequest) -> Result<LeaseClaimed, sqlx::Error> {
    Ok(match row.try_get::<i32, _>(0)? {
        0 => {
            let token = row.try_get(1)?;
            let attempt: i32 = row.try_get(2)?;
            LeaseClaimed::Granted(Grant::new(
                request.consumer,
                request.key,
                token,
                attempt.cast_unsigned(),
            ))
        }
        1 => LeaseClaimed::Duplicate(earlier(row.try_get(1)?)),
        _ => LeaseClaimed::InFlight,
    })
}

pub(super) async fn settle(store: &PgStore, grant: Grant, deed: Deed) -> Result<bool, StoreError> {
    settlement(include_str!("sql/settle.sql"), store, grant, deed)
        .fetch_often(store)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)
}

/// The same inside a transaction.
pub(super) async fn settle_in(
    store: &PgStore,
    connection: &mut PgConnection,
    grant: Grant,
    deed: Deed,
) -> Result<bool, StoreError> {
    settlement(include_str!("sql/settle_in.sql"), store, grant, deed)
        .fetch_in(connection)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)
}

fn settlement(text: &'static str, store: &PgStore, grant: Grant, deed: Deed) -> Statement {
    let (deed, seconds) = words(deed);
    Statement::new(text)
        .value(deed)
        .value(grant.consumer.get())
        .value(grant.key)
        .value(grant.token)
        .value(seconds)
        .value(store.now())
}

/// The age that a function reports; null where the window was changed.
pub(super) fn earlier(age_s: Option<i64>) -> Earlier {
    let age = age_s.and_then(|seconds| u64::try_from(seconds).ok());
    age.map_or_else(Earlier::unknown, |seconds| Earlier::ago(Duration::from_secs(seconds)))
}

/// A deed as `tower_inbox.settle` and its like name it, and for how many seconds.
pub(super) fn words(deed: Deed) -> (&'static str, i32) {
    let (word, seconds) = match deed {
        Deed::Complete(window) => ("complete", window.as_secs()),
        Deed::Release => ("release", 0),
        Deed::Extend(lease) => ("extend", lease.as_secs()),
    };
    (word, seconds.cast_signed())
}

fn failed(error: sqlx::Error) -> StoreError {
    error::classify(error, "could not settle the lease")
}
