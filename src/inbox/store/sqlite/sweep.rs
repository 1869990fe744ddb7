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

/// Walks the tables in the order of their primary keys, so that no index on the expiry has to be paid
/// for by every claim, and the writer is never held for long.
pub(super) async fn sweep(
    store: &SqliteStore,
    cursor: Option<Cursor>,
    retention: Duration,
) -> Result<Swept, StoreError> {
    let ended = store.now().floor() - seconds(retention);
    let (table, consumer, key) = match &cursor {
        Some(cursor) => parse(cursor)?,
        None => {
            sweep_beside(store, ended - seconds(ATTEMPTS)).await?;
            begin(&RECORD)
        }
    };
    let end: Option<(i16, Vec<u8>)> = sqlx::query_as(table.batch_end)
        .bind(consumer)
        .bind(key)
        .bind(ROWS - 1)
        .fetch_optional(&store.pool)
        .await
        .map_err(failed)?;
    let delete = match &end {
        Some((end_consumer, end_key)) => sqlx::query(table.sweep)
            .bind(consumer)
            .bind(key)
            .bind(end_consumer)
            .bind(end_key)
            .bind(ended),
        None => sqlx::query(table.sweep_rest).bind(consumer).bind(key).bind(ended),
    };
    let swept = delete.execute(&store.pool).await.map_err(failed)?;
    let next = match &end {
        Some((consumer, key)) => Some(at(table, *consumer, key)),
        None if table.number == RECORD.number => {
            let (table, consumer, key) = begin(&INBOX);
            Some(at(table, consumer, key))
        }
        None => None,
    };
    Ok(Swept::new(swept.rows_affected(), next))
}

/// What is left of leases and attempts; there are few of both.
async fn sweep_beside(store: &SqliteStore, until: i64) -> Result<(), StoreError> {
    for statement in [include_str!("sql/sweep_leases.sql"), include_str!("sql/sweep_attempts.sql")]
    {
        sqlx::query(statement).bind(until).execute(&store.pool).await.map_err(failed)?;
    }
    Ok(())
}

/// A table that is walked, by the same steps as the other.
struct Table {
    number: u8,
    batch_end: &'static str,
    sweep: &'static str,
    sweep_rest: &'static str,
}

static RECORD: Table = Table {
    number: 0,
    batch_end: include_str!("sql/record_batch_end.sql"),
    sweep: include_str!("sql/sweep_records.sql"),
    sweep_rest: include_str!("sql/sweep_records_rest.sql"),
};

static INBOX: Table = Table {
    number: 1,
    batch_end: include_str!("sql/batch_end.sql"),
    sweep: include_str!("sql/sweep.sql"),
    sweep_rest: include_str!("sql/sweep_rest.sql"),
};

/// Before the first row: no key is shorter than an empty one.
fn begin(table: &'static Table) -> (&'static Table, i16, &'static [u8]) {
    (table, i16::MIN, &[])
}

fn at(table: &Table, consumer: i16, key: &[u8]) -> Cursor {
    Cursor::new([&[table.number], &consumer.to_be_bytes()[..], key].concat())
}

fn parse(cursor: &Cursor) -> Result<(&'static Table, i16, &[u8]), StoreError> {
    match cursor.as_bytes().split_first_chunk() {
        Some(([table, high, low], key)) => {
            let table = if *table == RECORD.number { &RECORD } else { &INBOX };
            Ok((table, i16::from_be_bytes([*high, *low]), key))
        }
        None => Err(StoreError::new(StoreErrorKind::Other, "the cursor is not one of this store")),
    }
}

fn failed(error: sqlx::Error) -> StoreError {
    classify(error, "could not sweep expired claims")
}

pub(super) fn seconds(length: Duration) -> i64 {
    i64::try_from(length.as_secs()).unwrap_or(i64::from(i32::MAX)).min(i64::from(i32::MAX))
}

// Some milliseconds of the one writer.
const ROWS: i64 = 2000;
// How long the attempts at a message that was never completed are remembered.
const ATTEMPTS: Duration = Duration::from_secs(24 * 60 * 60);
