use std::time::Duration;

use sqlx::Row;

use super::{
    super::{error::classify, statement::Statement, sweep},
    PgBucketStore,
};
use crate::{
    error::{StoreError, StoreErrorKind},
    inbox::store::{Cursor, Swept},
};

pub(super) async fn begin_round(
    store: &PgBucketStore,
    every: Duration,
) -> Result<bool, StoreError> {
    let began = Statement::new(include_str!("sql/begin_round.sql"))
        .value(sweep::seconds(every))
        .value(store.pg.now())
        .execute(&store.pg.pool)
        .await
        .map_err(|error| classify(error, "could not begin a round of sweeping"))?;
    Ok(began.rows_affected() == 1)
}

/// Gives tables their places, empties one after the other whose place is over, walks what is in no
/// place, and then all that the flat store walks: leases and records are in the same tables for
/// both, and a consumer on its way has claims in the flat one.
pub(super) async fn sweep(
    store: &PgBucketStore,
    cursor: Option<Cursor>,
    retention: Duration,
) -> Result<Swept, StoreError> {
    let place = match cursor {
        Some(cursor) => parse(&cursor)?,
        None => {
            roll(store).await?;
            Place::Over { tried: 0 }
        }
    };
    match place {
        Place::Over { tried } => empty_next(store, tried, retention).await,
        Place::Rest { page, pages } => sweep_rest(store, page, pages, retention).await,
        Place::Flat(cursor) => {
            let Swept { removed, next, .. } = sweep::sweep(&store.pg, cursor, retention).await?;
            Ok(Swept::new(removed, next.map(|cursor| Place::Flat(Some(cursor)).cursor())))
        }
    }
}

async fn roll(store: &PgBucketStore) -> Result<(), StoreError> {
    let given: i32 = Statement::new(include_str!("sql/roll.sql"))
        .value(store.period.map(sweep::seconds))
        .value(store.pg.now())
        .fetch_one(&store.pg.pool)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(|error| classify(error, "could not give buckets their places"))?;
    if given > 0 {
        tracing::debug!(given, "gave buckets their places");
    }
    Ok(())
}

/// Empties the first table that is over and was not tried in this round.
async fn empty_next(
    store: &PgBucketStore,
    tried: u32,
    retention: Duration,
) -> Result<Swept, StoreError> {
    let over = Statement::new(include_str!("sql/over.sql"))
        .value(sweep::seconds(retention))
        .value(store.pg.now())
        .fetch_all(&store.pg.pool)
        .await
        .map_err(failed)?;
    for row in over {
        let bucket: i32 = row.try_get(0).map_err(failed)?;
        if tried & 1 << bucket == 0 {
            let removed = empty(store, bucket, retention).await?;
            return Ok(Swept::new(
                removed,
                Some(Place::Over { tried: tried | 1 << bucket }.cursor()),
            ));
        }
    }
    let pages = Statement::new(include_str!("sql/pages.sql"))
        .fetch_one(&store.pg.pool)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)?;
    Ok(Swept::new(0, Some(Place::Rest { page: 0, pages }.cursor())))
}

async fn empty(store: &PgBucketStore, bucket: i32, retention: Duration) -> Result<u64, StoreError> {
    let removed: Option<i64> = Statement::new(include_str!("sql/empty.sql"))
        .value(bucket)
        .value(sweep::seconds(retention))
        .value(LOCK_ID)
        .value(store.pg.now())
        .fetch_one(&store.pg.pool)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)?;
    if removed.is_none() {
        tracing::debug!(bucket, "an expired bucket is still held; the next round tries again");
    }
    Ok(removed.unwrap_or_default().cast_unsigned())
}

async fn sweep_rest(
    store: &PgBucketStore,
    page: i64,
    pages: i64,
    retention: Duration,
) -> Result<Swept, StoreError> {
    let end = page + sweep::PAGES;
    let removed: Option<i64> = Statement::new(include_str!("sql/sweep.sql"))
        .value(&*format!("({page},0)"))
        .value(&*format!("({end},0)"))
        .value(sweep::seconds(retention))
        .value(LOCK_ID)
        .value(store.pg.now())
        .fetch_one(&store.pg.pool)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)?;
    let Some(removed) = removed else {
        // Another session is deleting a batch at this moment; ours comes after it.
        return Ok(Swept::new(0, Some(Place::Rest { page, pages }.cursor())));
    };
    let next = if end < pages { Place::Rest { page: end, pages } } else { Place::Flat(None) };
    Ok(Swept::new(removed.cast_unsigned(), Some(next.cursor())))
}

/// Where a round has got to.
enum Place {
    /// Among the tables that are over; a bit for each that was tried.
    Over { tried: u32 },
    /// In table 0, which had so many pages when its walk began.
    Rest { page: i64, pages: i64 },
    /// Where the flat store says.
    Flat(Option<Cursor>),
}

impl Place {
    fn cursor(self) -> Cursor {
        Cursor::new(match self {
            Self::Over { tried } => [&[0], &tried.to_be_bytes()[..]].concat(),
            Self::Rest { page, pages } => {
                [&[1], &page.to_be_bytes()[..], &pages.to_be_bytes()].concat()
            }
            Self::Flat(None) => vec![2],
            Self::Flat(Some(cursor)) => [&[2], cursor.as_bytes()].concat(),
        })
    }
}

fn parse(cursor: &Cursor) -> Result<Place, StoreError> {
    let place = match cursor.as_bytes() {
        [0, tried @ ..] => {
            let tried = tried.try_into().map(u32::from_be_bytes);
            tried.ok().map(|tried| Place::Over { tried })
        }
        [1, rest @ ..] => match rest.as_chunks::<8>() {
            ([page, pages], []) => Some(Place::Rest {
                page: i64::from_be_bytes(*page),
                pages: i64::from_be_bytes(*pages),
            }),
            _ => None,
        },
        [2] => Some(Place::Flat(None)),
        [2, flat @ ..] => Some(Place::Flat(Some(Cursor::new(flat.to_vec())))),
        _ => None,
    };
    place.ok_or_else(|| {
        StoreError::new(StoreErrorKind::Other, "the cursor is not one of this store")
    })
}

fn failed(error: sqlx::Error) -> StoreError {
    classify(error, "could not sweep expired claims")
}

// "tower-bu" as a number; one process empties and deletes at a time.
const LOCK_ID: i64 = 0x746f_7765_722d_6275;
