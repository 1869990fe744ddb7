use std::{sync::Arc, time::Duration};

use sqlx::{Row, sqlite::SqliteRow};

use super::{SqliteStore, admin::key_of, error::classify};
use crate::{
    error::StoreError,
    hook::BoxFuture,
    inbox::store::{ConsumerId, Cursor, LetterId, RedeliveryStore, TakenLetter, admin::place},
};

#[deny(clippy::missing_trait_methods)]
impl RedeliveryStore for SqliteStore {
    fn take_letter(
        &self,
        consumer: Arc<str>,
        after: Option<Cursor>,
        hold: Duration,
    ) -> BoxFuture<'static, Result<Option<TakenLetter>, StoreError>> {
        let store = self.clone();
        Box::pin(async move { take(&store, &consumer, after, hold).await })
    }

    fn end_letter(&self, letter: LetterId) -> BoxFuture<'static, Result<(), StoreError>> {
        let store = self.clone();
        Box::pin(async move { end(&store, letter).await })
    }

    fn put_letter_back(
        &self,
        letter: LetterId,
        pause: Duration,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let store = self.clone();
        Box::pin(async move { put_back(&store, letter, pause).await })
    }
}

async fn take(
    store: &SqliteStore,
    consumer: &str,
    after: Option<Cursor>,
    hold: Duration,
) -> Result<Option<TakenLetter>, StoreError> {
    let failed = |error| classify(error, "could not take a requeued letter");
    let (requeued_at, _, key) = place::letter(after.as_ref())?;
    sqlx::query(include_str!("sql/take_letter.sql"))
        .bind(consumer)
        .bind(requeued_at)
        .bind(key.as_bytes().as_slice())
        .bind(seconds(hold))
        .bind(store.now().floor())
        .fetch_optional(&store.pool)
        .await
        .and_then(|row| row.map(taken).transpose())
        .map_err(failed)
}

async fn end(store: &SqliteStore, letter: LetterId) -> Result<(), StoreError> {
    sqlx::query(include_str!("sql/end_letter.sql"))
        .bind(letter.consumer.get())
        .bind(letter.key.as_bytes().as_slice())
        .bind(letter.deaths)
        .execute(&store.pool)
        .await
        .map(drop)
        .map_err(|error| classify(error, "could not end a requeued letter"))
}

async fn put_back(
    store: &SqliteStore,
    letter: LetterId,
    pause: Duration,
) -> Result<(), StoreError> {
    sqlx::query(include_str!("sql/put_letter_back.sql"))
        .bind(letter.consumer.get())
        .bind(letter.key.as_bytes().as_slice())
        .bind(letter.deaths)
        .bind(store.now().floor() + seconds(pause))
        .execute(&store.pool)
        .await
        .map(drop)
        .map_err(|error| classify(error, "could not put a requeued letter back"))
}

fn taken(row: SqliteRow) -> Result<TakenLetter, sqlx::Error> {
    let consumer: i16 = row.try_get(0)?;
    let id = LetterId::new(ConsumerId::new(consumer), key_of(&row, 1)?, row.try_get(2)?);
    let next = place::of_letter(row.try_get(3)?, consumer, id.key);
    Ok(TakenLetter::new(id, row.try_get(4)?, next))
}

fn seconds(length: Duration) -> i64 {
    i64::try_from(length.as_secs()).unwrap_or(LONGEST).min(LONGEST)
}

// Ten years, as for windows.
const LONGEST: i64 = 10 * 365 * 24 * 60 * 60;
