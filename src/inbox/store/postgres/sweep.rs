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

/// Walks the tables by page numbers, so that no index on the expiry has to be paid for by every
/// claim. (Tid range scans came with PostgreSQL 14; in 13 each batch reads the whole table.)
pub(super) async fn sweep(
    store: &PgStore,
    cursor: Option<Cursor>,
    retention: Duration,
) -> Result<Swept, StoreError> {
    let place = match cursor {
        Some(cursor) => parse(&cursor)?,
        None => {
            sweep_beside(store, retention).await?;
            Place::begin(store, Table::Record).await?
        }
    };
    let removed = match place.table {
        Table::Record => sweep_records(store, place, retention).await?,
        Table::Inbox => sweep_claims(store, place, retention).await?,
    };
    let Some(removed) = removed else {
        // Another session is deleting a batch at this moment; ours comes after it.
        return Ok(Swept::new(0, Some(place.cursor())));
    };
    let next = match place.table {
        _ if place.end() < place.pages => Some(Place { page: place.end(), ..place }),
        Table::Record => Some(Place::begin(store, Table::Inbox).await?),
        Table::Inbox => None,
    };
    Ok(Swept::new(removed.cast_unsigned(), next.map(Place::cursor)))
}

/// What is left of leases and attempts; there are few of both.
async fn sweep_beside(store: &PgStore, retention: Duration) -> Result<(), StoreError> {
    for statement in [include_str!("sql/sweep_leases.sql"), include_str!("sql/sweep_attempts.sql")]
    {
        Statement::new(statement)
            .value(seconds(retention.saturating_add(ATTEMPTS)))
            .value(store.now())
            .execute(&store.pool)
            .await
            .map_err(failed)?;
    }
    Ok(())
}

/// Leaves out what a handler is writing at the moment: it is not over.
async fn sweep_records(
    store: &PgStore,
    place: Place,
    retention: Duration,
) -> Result<Option<i64>, StoreError> {
    let swept = Statement::new(include_str!("sql/sweep_records.sql"))
        .value(&*format!("({},0)", place.page))
        .value(&*format!("({},0)", place.end()))
        .value(seconds(retention))
        .value(store.now())
        .execute(&store.pool)
        .await
        .map_err(failed)?;
    Ok(Some(swept.rows_affected().cast_signed()))
}

/// `None` while another session is at it.
async fn sweep_claims(
    store: &PgStore,
    place: Place,
    retention: Duration,
) -> Result<Option<i64>, StoreError> {
    Statement::new(include_str!("sql/sweep.sql"))
        .value(&*format!("({},0)", place.page))
        .value(&*format!("({},0)", place.end()))
        .value(seconds(retention))
        .value(LOCK_ID)
        .value(store.now())
        .fetch_one(&store.pool)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)
}

/// Where a round has got to.
#[derive(Clone, Copy)]
struct Place {
    table: Table,
    page: i64,
    /// How many pages the table had when its walk began.
    pages: i64,
}

#[derive(Clone, Copy)]
enum Table {
    Record,
    Inbox,
}

impl Place {
    async fn begin(store: &PgStore, table: Table) -> Result<Self, StoreError> {
        let count = match table {
            Table::Record => include_str!("sql/record_pages.sql"),
            Table::Inbox => include_str!("sql/pages.sql"),
        };
        let pages = Statement::new(count)
            .fetch_one(&store.pool)
            .await
            .and_then(|row| row.try_get(0))
            .map_err(failed)?;
        Ok(Self { table, page: 0, pages })
    }

    const fn end(self) -> i64 {
        self.page + PAGES
    }

    fn cursor(self) -> Cursor {
        let table: i64 = match self.table {
            Table::Record => 0,
            Table::Inbox => 1,
        };
        Cursor::new([table, self.page, self.pages].map(i64::to_be_bytes).concat())
    }
}

fn parse(cursor: &Cursor) -> Result<Place, StoreError> {
    let ([table, page, pages], []) = cursor.as_bytes().as_chunks::<8>() else {
        return Err(StoreError::new(StoreErrorKind::Other, "the cursor is not one of this store"));
    };
    let table = if i64::from_be_bytes(*table) == 0 { Table::Record } else { Table::Inbox };
    Ok(Place { table, page: i64::from_be_bytes(*page), pages: i64::from_be_bytes(*pages) })
}

fn failed(error: sqlx::Error) -> StoreError {
    classify(error, "could not sweep expired claims")
}

pub(super) fn seconds(length: Duration) -> i32 {
    i32::try_from(length.as_secs()).unwrap_or(i32::MAX)
}

// About 5 000 rows: some milliseconds of deleting, and one short transaction.
pub(super) const PAGES: i64 = 32;
// "tower-in" as a number; one process deletes at a time.
const LOCK_ID: i64 = 0x746f_7765_722d_696e;
// How long the attempts at a message that was never completed are remembered.
const ATTEMPTS: Duration = Duration::from_secs(24 * 60 * 60);
