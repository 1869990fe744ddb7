use std::time::Duration;

use sqlx::{Postgres, postgres::PgDatabaseError};
use xxhash_rust::xxh64::xxh64;

use super::{
    PgStore,
    error::{DUPLICATE, IN_FLIGHT, classify},
    statement::{Begun, Statement, begin_with},
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
///
/// The insert looks whether a row is there, once the message's lock is its own, and has no `on
/// conflict`: that costs more, in time and in the log. Who commits between its snapshot and its lock
/// makes it fail on the unique key, and it is sent again.
pub(super) async fn claim(
    store: &PgStore,
    claim: Claim,
) -> Result<Claimed<sqlx::PgConnection>, StoreError> {
    let statement = Statement::new(include_str!("sql/claim.sql"))
        .value(claim.key)
        .value(lock_id(claim.consumer, claim.key))
        .fixed(claim.consumer.get())
        .fixed(claim.window.as_secs().cast_signed())
        .fixed(i32::try_from(claim.wait.as_millis()).unwrap_or(i32::MAX));
    let statement = match store.now() {
        None => statement.fixed(None::<f64>),
        now => statement.value(now),
    };
    let begun = statement.then("begin", store).await?;
    let (held, error) = match begun {
        Begun::Open(held) => return Ok(Claimed::Won(Box::new(PgTx(held)))),
        Begun::Refused(held, error) => (held, error),
    };
    match error.as_database_error().and_then(|error| error.code()).as_deref() {
        Some(DUPLICATE) => {
            held.done();
            Ok(Claimed::Duplicate(earlier(&error)))
        }
        Some(IN_FLIGHT) => {
            held.done();
            Ok(Claimed::InFlight)
        }
        _ => Err(classify(error, "could not claim the message")),
    }
}

pub(super) async fn begin(store: &PgStore) -> Result<BoxTx<sqlx::PgConnection>, StoreError> {
    match begin_with(store, |_| "begin".to_owned()).await? {
        Begun::Open(held) => Ok(Box::new(PgTx(held))),
        Begun::Refused(_, error) => Err(classify(error, "could not begin a transaction")),
    }
}

/// The number of the advisory lock that one message of one consumer is worked on under.
pub(super) fn lock_id(consumer: ConsumerId, key: InboxKey) -> i64 {
    let mut bytes = [0; 18];
    bytes[..16].copy_from_slice(key.as_bytes());
    bytes[16..].copy_from_slice(&consumer.get().to_be_bytes());
    xxh64(&bytes, 0).cast_signed()
}

/// The age that `tower_inbox.make_room` and its like report with a duplicate.
pub(super) fn earlier(error: &sqlx::Error) -> Earlier {
    let error = error.as_database_error().and_then(|error| error.try_downcast_ref());
    let detail = error.and_then(PgDatabaseError::detail);
    match detail.and_then(|age| age.parse::<u64>().ok()) {
        Some(seconds) => Earlier::ago(Duration::from_secs(seconds)),
        None => Earlier::unknown(),
    }
}

pub(super) async fn acquire(store: &PgStore) -> Result<Held<Postgres>, StoreError> {
    let held = match &store.shelf {
        Some(shelf) => shelf.acquire().await,
        None => store.pool.acquire().await.map(Held::new),
    };
    held.map_err(no_connection)
}

/// Takes a connection from the pool in place of one that is of no use.
pub(super) async fn acquire_other(store: &PgStore) -> Result<Held<Postgres>, StoreError> {
    let held = match &store.shelf {
        Some(shelf) => shelf.acquire_from_pool().await,
        None => store.pool.acquire().await.map(Held::new),
    };
    held.map_err(no_connection)
}

fn no_connection(error: sqlx::Error) -> StoreError {
    classify(error, "could not get a connection for a claim")
}
