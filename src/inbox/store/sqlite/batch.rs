use std::collections::{HashMap, HashSet};

use sqlx::SqliteConnection;

use super::{Now, SqliteStore, claim::earlier, error::classify, tx};
use crate::{
    error::StoreError,
    hook::BoxFuture,
    inbox::store::{BatchClaim, BatchClaimed, BatchStore, ConsumerId, Earlier, KeyClaimed, OpenTx},
    key::InboxKey,
};

#[deny(clippy::missing_trait_methods)]
impl BatchStore for SqliteStore {
    fn claim_batch(
        &self,
        claim: BatchClaim,
    ) -> BoxFuture<'static, Result<BatchClaimed<SqliteConnection>, StoreError>> {
        let store = self.clone();
        Box::pin(async move { claim_batch(&store, claim).await })
    }

    fn handled(
        &self,
        consumer: ConsumerId,
        keys: Vec<InboxKey>,
    ) -> BoxFuture<'static, Result<Vec<Option<Earlier>>, StoreError>> {
        let store = self.clone();
        Box::pin(async move { handled(&store, consumer, &keys).await })
    }
}

/// Claims with one statement, in which the keys are one bound value: 16 bytes each. What is in the
/// way of it needs a second look, and expired claims two statements more.
async fn claim_batch(
    store: &SqliteStore,
    claim: BatchClaim,
) -> Result<BatchClaimed<SqliteConnection>, StoreError> {
    let BatchClaim { consumer, keys, window, .. } = claim;
    if keys.is_empty() {
        return Ok(BatchClaimed::new(Vec::new(), None));
    }
    // In the order of the table, which is read and written page by page.
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    let mut tx = tx::begin(store).await?;
    // The writer may have been waited for; the window begins after that.
    let now = store.now();
    let inserted: Vec<Vec<u8>> = sqlx::query_scalar(include_str!("sql/claim_batch.sql"))
        .bind(consumer.get())
        .bind(concat(&sorted))
        .bind(now.after(window))
        .fetch_all(tx.connection_mut())
        .await
        .map_err(failed)?;
    if inserted.len() == keys.len() {
        let answers = vec![KeyClaimed::Won; keys.len()];
        return Ok(BatchClaimed::new(answers, Some(Box::new(tx))));
    }

    let inserted: HashSet<InboxKey> = inserted.iter().filter_map(|key| parse(key)).collect();
    sorted.retain(|key| !inserted.contains(key));
    let held = holders(tx.connection_mut(), consumer, &sorted, now).await.map_err(failed)?;
    sorted.retain(|key| !held.contains_key(key));
    if !sorted.is_empty() {
        let expired = concat(&sorted);
        sqlx::query(include_str!("sql/take_batch.sql"))
            .bind(consumer.get())
            .bind(&expired)
            .bind(now.after(window))
            .execute(tx.connection_mut())
            .await
            .map_err(failed)?;
        sqlx::query(include_str!("sql/forget_leases.sql"))
            .bind(consumer.get())
            .bind(&expired)
            .execute(tx.connection_mut())
            .await
            .map_err(failed)?;
    }
    let answers: Vec<_> =
        keys.iter().map(|key| held.get(key).copied().unwrap_or(KeyClaimed::Won)).collect();
    if answers.contains(&KeyClaimed::Won) {
        return Ok(BatchClaimed::new(answers, Some(Box::new(tx))));
    }
    Box::new(tx).rollback().await?;
    Ok(BatchClaimed::new(answers, None))
}

async fn handled(
    store: &SqliteStore,
    consumer: ConsumerId,
    keys: &[InboxKey],
) -> Result<Vec<Option<Earlier>>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |error| classify(error, "could not look for handled messages");
    let mut connection = store.pool.acquire().await.map_err(failed)?;
    let held = holders(&mut connection, consumer, keys, store.now()).await.map_err(failed)?;
    let handled = |key| match held.get(key) {
        Some(KeyClaimed::Duplicate(earlier)) => Some(*earlier),
        _ => None,
    };
    Ok(keys.iter().map(handled).collect())
}

/// Which messages somebody has at a moment.
pub(super) async fn holders(
    connection: &mut SqliteConnection,
    consumer: ConsumerId,
    keys: &[InboxKey],
    now: Now,
) -> Result<HashMap<InboxKey, KeyClaimed>, sqlx::Error> {
    let held: Vec<(Vec<u8>, i64, bool, Option<i64>)> =
        sqlx::query_as(include_str!("sql/holders.sql"))
            .bind(consumer.get())
            .bind(concat(keys))
            .bind(now.floor())
            .fetch_all(connection)
            .await?;
    let answers = held.into_iter().filter_map(|(key, expires_at, leased, window_s)| {
        let answer = if leased {
            KeyClaimed::InFlight
        } else {
            KeyClaimed::Duplicate(earlier(expires_at, window_s, now))
        };
        Some((parse(&key)?, answer))
    });
    Ok(answers.collect())
}

pub(super) fn concat(keys: &[InboxKey]) -> Vec<u8> {
    keys.iter().flat_map(InboxKey::as_bytes).copied().collect()
}

/// No other length is ever written.
pub(super) fn parse(key: &[u8]) -> Option<InboxKey> {
    key.try_into().ok().map(InboxKey::from_bytes)
}

fn failed(error: sqlx::Error) -> StoreError {
    classify(error, "could not claim the batch")
}
