use super::{SqliteStore, error::classify, tx};
use crate::{
    error::StoreError,
    inbox::store::{AgeCount, OpenTx},
};

pub(super) async fn write(store: &SqliteStore) -> Result<(), StoreError> {
    let counts = store.ages.take();
    if counts.is_empty() {
        return Ok(());
    }
    let written = write_all(store, &counts).await;
    if written.is_err() {
        store.ages.put_back(counts);
    }
    written
}

async fn write_all(store: &SqliteStore, counts: &[AgeCount]) -> Result<(), StoreError> {
    let mut tx = tx::begin(store).await?;
    for count in counts {
        sqlx::query(include_str!("sql/write_age.sql"))
            .bind(count.consumer.get())
            .bind(count.bucket)
            .bind(count.seen.cast_signed())
            .execute(tx.connection_mut())
            .await
            .map_err(|error| classify(error, "could not write the ages of duplicates down"))?;
    }
    Box::new(tx).commit().await
}
