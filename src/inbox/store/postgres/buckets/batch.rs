use std::sync::LazyLock;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    super::{batch::claim_batch, error::classify, prepared::Prepared},
    PgBucketStore,
};
use crate::{
    error::StoreError,
    hook::BoxFuture,
    inbox::store::{BatchClaim, BatchClaimed, BatchStore, ConsumerId},
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
            claim_batch(&store.pg, &CLAIM, claim, &[store.beside_flat.to_string()]).await
        })
    }

    fn handled(
        &self,
        consumer: ConsumerId,
        keys: Vec<InboxKey>,
    ) -> BoxFuture<'static, Result<Vec<bool>, StoreError>> {
        let store = self.clone();
        Box::pin(async move { handled(&store, consumer, &keys).await })
    }
}

async fn handled(
    store: &PgBucketStore,
    consumer: ConsumerId,
    keys: &[InboxKey],
) -> Result<Vec<bool>, StoreError> {
    sqlx::query_scalar(include_str!("sql/handled.sql"))
        .persistent(store.pg.prepared)
        .bind(consumer.get())
        .bind(keys.iter().copied().map(Uuid::from).collect::<Vec<_>>())
        .bind(store.pg.now())
        .fetch_one(&store.pg.pool)
        .await
        .map_err(|error| classify(error, "could not look the batch up"))
}

static CLAIM: LazyLock<Prepared> = LazyLock::new(|| {
    Prepared::new(
        "tower_inbox_bucket_claim_batch",
        include_str!("sql/claim_batch.sql"),
        &["int2", "uuid[]", "int8[]", "int4", "int4", "boolean", "float8"],
    )
});
