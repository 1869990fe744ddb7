use std::time::Duration;

use sqlx::{Postgres, SqlSafeStr, postgres::PgDatabaseError};
use xxhash_rust::xxh64::xxh64;

use super::{
    PgStore,
    error::{DUPLICATE, IN_FAILED_TRANSACTION, IN_FLIGHT, classify},
    statement::{Begun, MAX_TRIES, Statement},
    tx::PgTx,
};
use crate::{
    error::StoreError,
    inbox::store::{BoxTx, Claim, Claimed, ConsumerId, Earlier, sql_tx::Held},
    key::InboxKey,
};

/// Claims and begins in one round trip.
///
/// A duplicate raises an error, before the `begin`; see [`Statement::then`].
pub(super) async fn claim(
    store: &PgStore,
    claim: Claim,
) -> Result<Claimed<sqlx::PgConnection>, StoreError> {
    let begun = Statement::new(include_str!("sql/claim.sql"))
        .value(claim.consumer.get())
        .value(claim.key)
        .value(claim.window.as_secs().cast_signed())
        .value(lock_id(claim.consumer, claim.key))
        .value(i32::try_from(claim.wait.as_millis()).unwrap_or(i32::MAX))
        .value(store.now())
        .then("begin", store)
        .await?;
    let error = match begun {
        Begun::Open(held) => return Ok(Claimed::Won(Box::new(PgTx(held)))),
        Begun::Refused(_, error) => error,
    };
    match error.as_database_error().and_then(|error| error.code()).as_deref() {
        Some(DUPLICATE) => Ok(Claimed::Duplicate(earlier(&error))),
        Some(IN_FLIGHT) => Ok(Claimed::InFlight),
        _ => Err(classify(error, "could not claim the message")),
    }
}

pub(super) async fn begin(store: &PgStore) -> Result<BoxTx<sqlx::PgConnection>, StoreError> {
    let mut held = acquire(store).await?;
    let mut tries = 0;
    while let Err(error) = held.begin("begin".into_sql_str()).await {
        tries += 1;
        let code = error.as_database_error().and_then(|error| error.code());
        if code.as_deref() != Some(IN_FAILED_TRANSACTION) || tries == MAX_TRIES {
            return Err(classify(error, "could not begin a transaction"));
        }
        held.discard();
        held = acquire(store).await?;
    }
    Ok(Box::new(PgTx(held)))
}

/// The number of the advisory lock that one message of one consumer is worked on under.
pub(super) fn lock_id(consumer: ConsumerId, key: InboxKey) -> i64 {
    let mut bytes = [0; 18];
    bytes[..16].copy_from_slice(key.as_bytes());
    bytes[16..].copy_from_slice(&consumer.get().to_be_bytes());
    xxh64(&bytes, 0).cast_signed()
}

/// The age that `tower_inbox.contend` reports with a duplicate.
fn earlier(error: &sqlx::Error) -> Earlier {
    let error = error.as_database_error().and_then(|error| error.try_downcast_ref());
    let detail = error.and_then(PgDatabaseError::detail);
    match detail.and_then(|age| age.parse::<u64>().ok()) {
        Some(seconds) => Earlier::ago(Duration::from_secs(seconds)),
        None => Earlier::unknown(),
    }
}

pub(super) async fn acquire(store: &PgStore) -> Result<Held<Postgres>, StoreError> {
    let connection = store
        .pool
        .acquire()
        .await
        .map_err(|error| classify(error, "could not get a connection for a claim"))?;
    Ok(Held::new(connection))
}
