use sqlx::{Row, SqliteConnection};

use super::{SqliteStore, error::classify, lease::settle_in, tx};
use crate::{
    error::{StoreError, StoreErrorKind},
    hook::BoxFuture,
    inbox::{
        Window,
        store::{ConsumerId, Deed, Grant, OpenTx, Record, RecordStore},
    },
    key::{Fingerprint, InboxKey},
};

#[deny(clippy::missing_trait_methods)]
impl RecordStore for SqliteStore {
    fn keep<'a>(
        &'a self,
        connection: &'a mut SqliteConnection,
        consumer: ConsumerId,
        key: InboxKey,
        record: Record,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(keep(connection, consumer, key, record))
    }

    fn complete_with(
        &self,
        grant: Grant,
        window: Window,
        record: Record,
    ) -> BoxFuture<'static, Result<bool, StoreError>> {
        let store = self.clone();
        Box::pin(async move { complete_with(&store, grant, window, record).await })
    }

    fn kept(
        &self,
        consumer: ConsumerId,
        key: InboxKey,
    ) -> BoxFuture<'static, Result<Option<Record>, StoreError>> {
        let store = self.clone();
        Box::pin(async move { kept(&store, consumer, key).await })
    }
}

async fn keep(
    connection: &mut SqliteConnection,
    consumer: ConsumerId,
    key: InboxKey,
    record: Record,
) -> Result<(), StoreError> {
    sqlx::query(include_str!("sql/keep.sql"))
        .bind(consumer.get())
        .bind(key.as_bytes().as_slice())
        .bind(record.fingerprint.map(|fingerprint| fingerprint.as_bytes().to_vec()))
        .bind(record.response)
        .execute(connection)
        .await
        .map(drop)
        .map_err(|error| classify(error, "could not keep the record of a message"))
}

async fn complete_with(
    store: &SqliteStore,
    grant: Grant,
    window: Window,
    record: Record,
) -> Result<bool, StoreError> {
    let mut tx = tx::begin(store).await?;
    let completed =
        settle_in(tx.connection_mut(), grant, Deed::Complete(window), store.now()).await?;
    if !completed {
        Box::new(tx).rollback().await?;
        return Ok(false);
    }
    keep(tx.connection_mut(), grant.consumer, grant.key, record).await?;
    Box::new(tx).commit().await?;
    Ok(true)
}

async fn kept(
    store: &SqliteStore,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<Option<Record>, StoreError> {
    let failed = |error| classify(error, "could not read the record of a message");
    let Some(row) = sqlx::query(include_str!("sql/kept.sql"))
        .bind(consumer.get())
        .bind(key.as_bytes().as_slice())
        .fetch_optional(&store.pool)
        .await
        .map_err(failed)?
    else {
        return Ok(None);
    };
    let fingerprint: Option<Vec<u8>> = row.try_get(0).map_err(failed)?;
    let fingerprint = match fingerprint.map(<[u8; 16]>::try_from) {
        None => None,
        Some(Ok(bytes)) => Some(Fingerprint::from_bytes(bytes)),
        Some(Err(_)) => {
            return Err(StoreError::new(
                StoreErrorKind::Other,
                "a fingerprint in the table of records is not 16 bytes long",
            ));
        }
    };
    Ok(Some(Record::new(fingerprint, row.try_get(1).map_err(failed)?)))
}
