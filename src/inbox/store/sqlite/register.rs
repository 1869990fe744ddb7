use sqlx::Row;

use super::{SqliteStore, error};
use crate::{
    error::{StoreError, StoreErrorKind},
    inbox::{
        Window,
        store::{ConsumerId, StoreMeta},
    },
    key::{InboxKey, Secret},
};

pub(super) async fn meta(store: &SqliteStore) -> Result<StoreMeta, StoreError> {
    store.schema().check().await?;
    let secret: Vec<u8> = sqlx::query_scalar(include_str!("sql/meta.sql"))
        .fetch_one(&store.pool)
        .await
        .map_err(|error| error::classify(error, "could not read the secret of the keys"))?;
    let secret = secret.try_into().map_err(|_| {
        StoreError::new(StoreErrorKind::Other, "the secret of the keys is not 16 bytes long")
    })?;
    Ok(StoreMeta::new(Secret::from_bytes(secret)))
}

pub(super) async fn register(
    store: &SqliteStore,
    consumer: &str,
    window: Window,
    probe: InboxKey,
) -> Result<ConsumerId, StoreError> {
    let classify =
        |error| error::classify(error, &format!("could not register the consumer {consumer:?}"));
    // Looking first keeps a start from needing the one writer.
    if let Some((id, registered)) = find(store, consumer, probe).await? {
        if registered == i64::from(window.as_secs()) {
            return Ok(id);
        }
        sqlx::query(include_str!("sql/window.sql"))
            .bind(id.get())
            .bind(window.as_secs())
            .execute(&store.pool)
            .await
            .map_err(classify)?;
        return Ok(id);
    }
    sqlx::query(include_str!("sql/register.sql"))
        .bind(consumer)
        .bind(probe.as_bytes().as_slice())
        .bind(window.as_secs())
        .execute(&store.pool)
        .await
        .map_err(classify)?;
    let found = find(store, consumer, probe).await?;
    found.map(|(id, _)| id).ok_or_else(|| {
        StoreError::new(
            StoreErrorKind::Other,
            format!("the consumer {consumer:?} vanished while it was being registered"),
        )
    })
}

/// The number of a consumer and its window in seconds, if it is registered.
async fn find(
    store: &SqliteStore,
    consumer: &str,
    probe: InboxKey,
) -> Result<Option<(ConsumerId, i64)>, StoreError> {
    let classify =
        |error| error::classify(error, &format!("could not look the consumer {consumer:?} up"));
    let Some(row) = sqlx::query(include_str!("sql/consumer.sql"))
        .bind(consumer)
        .fetch_optional(&store.pool)
        .await
        .map_err(classify)?
    else {
        return Ok(None);
    };
    let registered: Vec<u8> = row.try_get(1).map_err(classify)?;
    if registered != probe.as_bytes() {
        return Err(StoreError::key_changed(consumer));
    }
    let id = ConsumerId::new(row.try_get(0).map_err(classify)?);
    Ok(Some((id, row.try_get(2).map_err(classify)?)))
}
