use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{
    super::{claim, error::classify, statement::Statement},
    PgBucketStore,
    lease::settle_in,
};
use crate::{
    error::StoreError,
    hook::BoxFuture,
    inbox::{
        Window,
        store::{ConsumerId, Deed, Grant, Record, RecordStore},
    },
    key::{Fingerprint, InboxKey},
};

#[deny(clippy::missing_trait_methods)]
impl RecordStore for PgBucketStore {
    fn keep<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        consumer: ConsumerId,
        key: InboxKey,
        record: Record,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(keep(self, connection, consumer, key, record))
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
    store: &PgBucketStore,
    connection: &mut PgConnection,
    consumer: ConsumerId,
    key: InboxKey,
    record: Record,
) -> Result<(), StoreError> {
    // The session is ours until the commit, but a name that sqlx gave a statement in another one
    // may be unknown in it.
    sqlx::query(include_str!("sql/keep.sql"))
        .persistent(false)
        .bind(consumer.get())
        .bind(Uuid::from(key))
        .bind(record.fingerprint.map(|fingerprint| Uuid::from_bytes(*fingerprint.as_bytes())))
        .bind(record.response)
        .bind(store.pg.now())
        .execute(connection)
        .await
        .map(drop)
        .map_err(|error| classify(error, "could not keep the record of a message"))
}

async fn complete_with(
    store: &PgBucketStore,
    grant: Grant,
    window: Window,
    record: Record,
) -> Result<bool, StoreError> {
    let mut tx = claim::begin(&store.pg).await?;
    let completed = settle_in(store, tx.connection_mut(), grant, Deed::Complete(window)).await?;
    if !completed {
        tx.rollback().await?;
        return Ok(false);
    }
    keep(store, tx.connection_mut(), grant.consumer, grant.key, record).await?;
    tx.commit().await?;
    Ok(true)
}

async fn kept(
    store: &PgBucketStore,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<Option<Record>, StoreError> {
    let failed = |error| classify(error, "could not read the record of a message");
    let Some(row) = Statement::new(include_str!("sql/kept.sql"))
        .value(consumer.get())
        .value(key)
        .value(store.pg.now())
        .fetch_optional(&store.pg.pool)
        .await
        .map_err(failed)?
    else {
        return Ok(None);
    };
    let fingerprint: Option<Uuid> = row.try_get(0).map_err(failed)?;
    let fingerprint = fingerprint.map(|uuid| Fingerprint::from_bytes(uuid.into_bytes()));
    Ok(Some(Record::new(fingerprint, row.try_get(1).map_err(failed)?)))
}
