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
    let (id, place) = number(store, consumer, window, probe).await?;
    if place != FLAT {
        enter(store, consumer, id, FLAT).await?;
    }
    Ok(id)
}

/// The number of a consumer, new or old, and in which store its claims are.
pub(super) async fn number(
    store: &PgStore,
    consumer: &str,
    window: Window,
    probe: InboxKey,
) -> Result<(ConsumerId, String), StoreError> {
    let classify =
        |error| error::classify(error, &format!("could not register the consumer {consumer:?}"));
    // Looking first keeps the identity column from counting up at every start.
    if let Some((id, registered, place)) = find(store, consumer, probe).await? {
        if registered == i64::from(window.as_secs()) {
            return Ok((id, place));
        }
        Statement::new(include_str!("sql/window.sql"))
            .value(id.get())
            .value(window.as_secs().cast_signed())
            .execute(&store.pool)
            .await
            .map_err(classify)?;
        return Ok((id, place));
    }
    Statement::new(include_str!("sql/register.sql"))
        .value(consumer)
        .value(probe)
        .value(window.as_secs().cast_signed())
        .execute(&store.pool)
        .await
        .map_err(classify)?;
    let found = find(store, consumer, probe).await?;
    found.map(|(id, _, place)| (id, place)).ok_or_else(|| {
        StoreError::new(
            StoreErrorKind::Other,
            format!("the consumer {consumer:?} vanished while it was being registered"),
        )
    })
}

/// Moves a consumer to another store, unless that would let redeliveries through.
pub(super) async fn enter(
    store: &PgStore,
    consumer: &str,
    id: ConsumerId,
    place: &'static str,
) -> Result<(), StoreError> {
    let classify =
        |error| error::classify(error, &format!("could not register the consumer {consumer:?}"));
    let entered: i32 = Statement::new(include_str!("sql/enter.sql"))
        .value(id.get())
        .value(place)
        .value(store.now())
        .fetch_one(&store.pool)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(classify)?;
    let why_not = match entered {
        0 => return Ok(()),
        -2 => "its claims are in buckets, where `PgStore` does not look: go on with \
               `PgBucketStore`, or move back by way of `PgBucketStore::beside_flat`"
            .to_owned(),
        -1 => "it has claims in the flat table, where `PgBucketStore` does not look: move by way \
               of `PgBucketStore::beside_flat`"
            .to_owned(),
        seconds => format!(
            "claims that are in the flat table only may not have expired: keep \
             `PgBucketStore::beside_flat` for {seconds} seconds more"
        ),
    };
    Err(StoreError::new(
        StoreErrorKind::Other,
        format!("the redeliveries of the consumer {consumer:?} would not be recognised: {why_not}"),
    ))
}

/// The number of a consumer, its window in seconds and its store, if it is registered.
async fn find(
    store: &PgStore,
    consumer: &str,
    probe: InboxKey,
) -> Result<Option<(ConsumerId, i64, String)>, StoreError> {
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
    Ok(Some((id, window_s.into(), row.try_get(3).map_err(classify)?)))
}

/// The stores as the column `store` names them.
pub(super) const FLAT: &str = "flat";
pub(super) const BOTH: &str = "both";
pub(super) const BUCKETS: &str = "buckets";
