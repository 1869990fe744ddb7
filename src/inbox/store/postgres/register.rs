use sqlx::Row;

use super::{PgStore, error, statement::Statement};
use crate::{
    error::{StoreError, StoreErrorKind},
    inbox::{
        Window,
        store::{ConsumerId, StoreMeta},
    },
    key::{InboxKey, Secret},
};

pub(super) async fn meta(store: &PgStore) -> Result<StoreMeta, StoreError> {
    store.schema().check().await?;
    let secret: [u8; 16] = Statement::new(include_str!("sql/meta.sql"))
        .fetch_one(&store.pool)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(|error| error::classify(error, "could not read the secret of the keys"))?;
    Ok(StoreMeta::new(Secret::from_bytes(secret)))
}

pub(super) async fn register(
    store: &PgStore,
    consumer: &str,
    window: Window,
    probe: InboxKey,
) -> Result<ConsumerId, StoreError> {
    let classify =
        |error| error::classify(error, &format!("could not register the consumer {consumer:?}"));
    // Looking first keeps the identity column from counting up at every start.
    if let Some((id, registered)) = find(store, consumer, probe).await? {
        if registered == i64::from(window.as_secs()) {
            return Ok(id);
        }
        Statement::new(include_str!("sql/window.sql"))
            .value(id.get())
            .value(window.as_secs().cast_signed())
            .execute(&store.pool)
            .await
            .map_err(classify)?;
        return Ok(id);
    }
    Statement::new(include_str!("sql/register.sql"))
        .value(consumer)
        .value(probe)
        .value(window.as_secs().cast_signed())
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
    store: &PgStore,
    consumer: &str,
    probe: InboxKey,
) -> Result<Option<(ConsumerId, i64)>, StoreError> {
    let classify =
        |error| error::classify(error, &format!("could not look the consumer {consumer:?} up"));
    let Some(row) = Statement::new(include_str!("sql/consumer.sql"))
        .value(consumer)
        .fetch_optional(&store.pool)
        .await
        .map_err(classify)?
    else {
        return Ok(None);
    };
    let registered: uuid::Uuid = row.try_get(1).map_err(classify)?;
    if InboxKey::from(registered) != probe {
        return Err(StoreError::key_changed(consumer));
    }
    let id = ConsumerId::new(row.try_get(0).map_err(classify)?);
    let window_s: i32 = row.try_get(2).map_err(classify)?;
    Ok(Some((id, window_s.into())))
}
