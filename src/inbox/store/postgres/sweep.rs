use std::time::Duration;

use sqlx::Row;

use super::{PgStore, error::classify, statement::Statement};
use crate::{
    error::{StoreError, StoreErrorKind},
    inbox::store::{Cursor, Swept},
};

pub(super) async fn begin_round(store: &PgStore, every: Duration) -> Result<bool, StoreError> {
    let began = Statement::new(include_str!("sql/begin_round.sql"))
        .value(seconds(every))
        .value(store.now())
        .execute(&store.pool)
        .await
        .map_err(|error| classify(error, "could not begin a round of sweeping"))?;
    Ok(began.rows_affected() == 1)
}

/// Walks the table by page numbers, so that no index on the expiry has to be paid for by every
/// claim. (Tid range scans came with PostgreSQL 14; in 13 each batch reads the whole table.)
pub(super) async fn sweep(
    store: &PgStore,
    cursor: Option<Cursor>,
    retention: Duration,
) -> Result<Swept, StoreError> {
    let failed = |error| classify(error, "could not sweep expired claims");
    let (page, pages) = match cursor {
        Some(cursor) => parse(&cursor)?,
        None => {
            Statement::new(include_str!("sql/sweep_leases.sql"))
                .value(seconds(retention.saturating_add(ATTEMPTS)))
                .value(store.now())
                .execute(&store.pool)
                .await
                .map_err(failed)?;
            let pages = Statement::new(include_str!("sql/pages.sql"))
                .fetch_one(&store.pool)
                .await
                .and_then(|row| row.try_get(0))
                .map_err(failed)?;
            (0, pages)
        }
    };
    let end = page + PAGES;
    let removed: Option<i64> = Statement::new(include_str!("sql/sweep.sql"))
        .value(&*format!("({page},0)"))
        .value(&*format!("({end},0)"))
        .value(seconds(retention))
        .value(LOCK_ID)
        .value(store.now())
        .fetch_one(&store.pool)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)?;
    Ok(match removed {
        // Another session is deleting a batch at this moment; ours comes after it.
        None => Swept::new(0, Some(at(page, pages))),
        Some(removed) => Swept::new(removed.cast_unsigned(), (end < pages).then(|| at(end, pages))),
    })
}

fn at(page: i64, pages: i64) -> Cursor {
    Cursor::new([page.to_be_bytes(), pages.to_be_bytes()].concat())
}

fn parse(cursor: &Cursor) -> Result<(i64, i64), StoreError> {
    let halves = cursor.as_bytes().as_chunks::<8>();
    match halves {
        ([page, pages], []) => Ok((i64::from_be_bytes(*page), i64::from_be_bytes(*pages))),
        _ => Err(StoreError::new(StoreErrorKind::Other, "the cursor is not one of this store")),
    }
}

fn seconds(length: Duration) -> i32 {
    i32::try_from(length.as_secs()).unwrap_or(i32::MAX)
}

// About 5 000 rows: some milliseconds of deleting, and one short transaction.
const PAGES: i64 = 32;
// "tower-in" as a number; one process deletes at a time.
const LOCK_ID: i64 = 0x746f_7765_722d_696e;
// How long the attempts of a message that was never completed are remembered.
const ATTEMPTS: Duration = Duration::from_secs(24 * 60 * 60);
