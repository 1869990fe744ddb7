use std::time::Duration;

use super::{SqliteStore, error::classify};
use crate::{
    error::{StoreError, StoreErrorKind},
    inbox::store::{Cursor, Swept},
};

pub(super) async fn begin_round(store: &SqliteStore, every: Duration) -> Result<bool, StoreError> {
    let began = sqlx::query(include_str!("sql/begin_round.sql"))
        .bind(seconds(every))
        .bind(store.now().floor())
        .execute(&store.pool)
        .await
        .map_err(|error| classify(error, "could not begin a round of sweeping"))?;
    Ok(began.rows_affected() == 1)
}

/// Walks the table in the order of its primary key, so that no index on the expiry has to be paid
/// for by every claim, and the writer is never held for long.
pub(super) async fn sweep(
    store: &SqliteStore,
    cursor: Option<Cursor>,
    retention: Duration,
) -> Result<Swept, StoreError> {
    let failed = |error| classify(error, "could not sweep expired claims");
    let ended = store.now().floor() - seconds(retention);
    let (consumer, key) = match &cursor {
        Some(cursor) => parse(cursor)?,
        None => {
            sqlx::query(include_str!("sql/sweep_leases.sql"))
                .bind(ended - seconds(ATTEMPTS))
                .execute(&store.pool)
                .await
                .map_err(failed)?;
            // Before the first row: no key is shorter than an empty one.
            (i16::MIN, [].as_slice())
        }
    };
    let end: Option<(i16, Vec<u8>)> = sqlx::query_as(include_str!("sql/batch_end.sql"))
        .bind(consumer)
        .bind(key)
        .bind(ROWS - 1)
        .fetch_optional(&store.pool)
        .await
        .map_err(failed)?;
    let delete = match &end {
        Some((end_consumer, end_key)) => sqlx::query(include_str!("sql/sweep.sql"))
            .bind(consumer)
            .bind(key)
            .bind(end_consumer)
            .bind(end_key)
            .bind(ended),
        None => {
            sqlx::query(include_str!("sql/sweep_rest.sql")).bind(consumer).bind(key).bind(ended)
        }
    };
    let swept = delete.execute(&store.pool).await.map_err(failed)?;
    let next = end.map(|(consumer, key)| Cursor::new([&consumer.to_be_bytes(), &key[..]].concat()));
    Ok(Swept::new(swept.rows_affected(), next))
}

fn parse(cursor: &Cursor) -> Result<(i16, &[u8]), StoreError> {
    match cursor.as_bytes().split_first_chunk() {
        Some((consumer, key)) => Ok((i16::from_be_bytes(*consumer), key)),
        None => Err(StoreError::new(StoreErrorKind::Other, "the cursor is not one of this store")),
    }
}

fn seconds(length: Duration) -> i64 {
    i64::try_from(length.as_secs()).unwrap_or(i64::from(i32::MAX)).min(i64::from(i32::MAX))
}

// Some milliseconds of the one writer.
const ROWS: i64 = 2000;
// How long the attempts of a message that was never completed are remembered.
const ATTEMPTS: Duration = Duration::from_secs(24 * 60 * 60);
