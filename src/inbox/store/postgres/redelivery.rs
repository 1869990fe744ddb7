use std::{sync::Arc, time::Duration};

use sqlx::{Row, postgres::PgRow, types::Uuid};

use super::{PgStore, error::classify, statement::Statement};
use crate::{
    error::StoreError,
    hook::BoxFuture,
    inbox::store::{ConsumerId, Cursor, LetterId, RedeliveryStore, TakenLetter, admin::place},
};

#[deny(clippy::missing_trait_methods)]
impl RedeliveryStore for PgStore {
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
    store: &PgStore,
    consumer: &str,
    after: Option<Cursor>,
    hold: Duration,
) -> Result<Option<TakenLetter>, StoreError> {
    let failed = |error| classify(error, "could not take a requeued letter");
    let (requeued_at, _, key) = place::letter(after.as_ref())?;
    Statement::new(include_str!("sql/take_letter.sql"))
        .value(consumer)
        .value(requeued_at)
        .value(key)
        .value(seconds(hold))
        .value(store.now())
        .fetch_optional(&store.pool)
        .await
        .and_then(|row| row.map(taken).transpose())
        .map_err(failed)
}

async fn end(store: &PgStore, letter: LetterId) -> Result<(), StoreError> {
    about(include_str!("sql/end_letter.sql"), letter)
        .execute(&store.pool)
        .await
        .map(drop)
        .map_err(|error| classify(error, "could not end a requeued letter"))
}

async fn put_back(store: &PgStore, letter: LetterId, pause: Duration) -> Result<(), StoreError> {
    about(include_str!("sql/put_letter_back.sql"), letter)
        .value(seconds(pause))
        .value(store.now())
        .execute(&store.pool)
        .await
        .map(drop)
        .map_err(|error| classify(error, "could not put a requeued letter back"))
}

fn about(text: &'static str, letter: LetterId) -> Statement {
    Statement::new(text)
        .value(letter.consumer.get())
        .value(letter.key)
        .value(letter.deaths.cast_signed())
}

fn taken(row: PgRow) -> Result<TakenLetter, sqlx::Error> {
    let (consumer, key): (i16, Uuid) = (row.try_get(0)?, row.try_get(1)?);
    let (deaths, requeued_at): (i32, i32) = (row.try_get(2)?, row.try_get(3)?);
    let id = LetterId::new(ConsumerId::new(consumer), key.into(), deaths.cast_unsigned());
    let next = place::of_letter(requeued_at.into(), consumer, id.key);
    Ok(TakenLetter::new(id, row.try_get(4)?, next))
}

fn seconds(length: Duration) -> i32 {
    // Far below the end of time, which is added to.
    i32::try_from(length.as_secs()).unwrap_or(LONGEST).min(LONGEST)
}

// Ten years, as for windows.
const LONGEST: i32 = 10 * 365 * 24 * 60 * 60;
