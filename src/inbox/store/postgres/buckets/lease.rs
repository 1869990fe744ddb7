use sqlx::{PgConnection, Row};

use super::{
    super::{
        claim::lock_id,
        error::classify,
        lease::{answer, words},
        statement::Statement,
    },
    PgBucketStore,
};
use crate::{
    error::StoreError,
    inbox::store::{Deed, Grant, LeaseClaimed, LeaseRequest},
};

pub(super) async fn lease(
    store: &PgBucketStore,
    request: &LeaseRequest,
) -> Result<LeaseClaimed, StoreError> {
    Statement::new(include_str!("sql/lease.sql"))
        .value(request.consumer.get())
        .value(request.key)
        .value(request.lease.as_secs().cast_signed())
        .value(lock_id(request.consumer, request.key))
        .value(&*request.owner)
        .value(store.beside_flat)
        .value(store.pg.now())
        .fetch_often(&store.pg)
        .await
        .and_then(|row| answer(&row, request))
        .map_err(|error| classify(error, "could not lease the message"))
}

pub(super) async fn settle(
    store: &PgBucketStore,
    grant: Grant,
    deed: Deed,
) -> Result<bool, StoreError> {
    settlement(include_str!("sql/settle.sql"), store, grant, deed)
        .fetch_often(&store.pg)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)
}

/// The same inside a transaction.
pub(super) async fn settle_in(
    store: &PgBucketStore,
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

fn settlement(text: &'static str, store: &PgBucketStore, grant: Grant, deed: Deed) -> Statement {
    let (deed, seconds) = words(deed);
    Statement::new(text)
        .value(deed)
        .value(grant.consumer.get())
        .value(grant.key)
        .value(grant.token)
        .value(seconds)
        .value(lock_id(grant.consumer, grant.key))
        .value(store.beside_flat)
        .value(store.pg.now())
}

fn failed(error: sqlx::Error) -> StoreError {
    classify(error, "could not settle the lease")
}
