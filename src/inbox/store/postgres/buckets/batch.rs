use sqlx::{PgConnection, Row};

use super::{
    super::{
        batch::{claim_batch, earlier},
        error::classify,
        statement::Statement,
    },
    PgBucketStore,
};
use crate::{
    error::StoreError,
    hook::BoxFuture,
    inbox::store::{BatchClaim, BatchClaimed, BatchStore, ConsumerId, Earlier},
    key::InboxKey,
};

#[deny(clippy::missing_trait_methods)]
impl BatchStore for PgBucketStore {
    fn claim_batch(
        &self,
        claim: BatchClaim,
    ) -> BoxFuture<'static, Result<BatchClaimed<PgConnection>, StoreError>> {
        let store = self.clone();
        Box::pin(async move {
            let text = include_str!("sql/claim_batch.sql");
            claim_batch(&store.pg, text, claim, Some(store.beside_flat)).await
        })
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

async fn handled(
    store: &PgBucketStore,
    consumer: ConsumerId,
    keys: &[InboxKey],
) -> Result<Vec<Option<Earlier>>, StoreError> {
    Statement::new(include_str!("sql/handled.sql"))
        .value(consumer.get())
        .value(keys)
        .value(store.pg.now())
        .fetch_often(&store.pg)
        .await
        .and_then(|row| row.try_get(0))
        .map(|ages: Vec<Option<i64>>| ages.into_iter().map(|age| age.map(earlier)).collect())
        .map_err(|error| classify(error, "could not look for handled messages"))
}
