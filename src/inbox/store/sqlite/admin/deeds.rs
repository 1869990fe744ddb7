use sqlx::SqliteConnection;

use super::{
    super::{
        Now, SqliteStore,
        error::classify,
        poison::{forget_in, forget_letter},
        tx::{self, SqliteTx},
    },
    look::{Found, find, letter_of, seen, seen_row},
};
use crate::{
    error::StoreError,
    inbox::store::{
        ConsumerId, Discarded, Forgotten, Intervention, OpenTx, Requeued,
        admin::{Seen, requeue_detail},
    },
};

pub(super) async fn forget(
    store: &SqliteStore,
    intervention: &Intervention,
) -> Result<Forgotten, StoreError> {
    let failed = |error| classify(error, "could not forget the message");
    let Found { id: consumer, window, .. } = find(store, &intervention.consumer).await?;
    let mut tx = tx::begin(store).await?;
    let now = store.now();
    let seen = look(&mut tx, consumer, window, now, intervention).await.map_err(failed)?;
    let state = match seen.forget(intervention.force) {
        Ok(state) => state,
        Err(refused) => return Box::new(tx).rollback().await.map(|()| refused),
    };
    free(tx.connection_mut(), consumer, intervention).await.map_err(failed)?;
    note(&mut tx, now, intervention, "forget", &state.detail()).await.map_err(failed)?;
    end(tx, intervention).await.map(|()| Forgotten::Done(state))
}

pub(super) async fn requeue(
    store: &SqliteStore,
    intervention: &Intervention,
) -> Result<Requeued, StoreError> {
    let failed = |error| classify(error, "could not requeue the dead letter");
    let Found { id: consumer, window, .. } = find(store, &intervention.consumer).await?;
    let mut tx = tx::begin(store).await?;
    let now = store.now();
    let seen = look(&mut tx, consumer, window, now, intervention).await.map_err(failed)?;
    let letter = match seen.requeue(intervention.force) {
        Ok(letter) => letter,
        Err(Requeued::Already { at, .. }) => {
            let by = requeued_by(tx.connection_mut(), intervention).await.map_err(failed)?;
            return Box::new(tx).rollback().await.map(|()| Requeued::Already { at, by });
        }
        Err(refused) => return Box::new(tx).rollback().await.map(|()| refused),
    };
    free(tx.connection_mut(), consumer, intervention).await.map_err(failed)?;
    sqlx::query(include_str!("sql/requeue.sql"))
        .bind(consumer.get())
        .bind(intervention.key.as_bytes().as_slice())
        .bind(now.floor())
        .execute(tx.connection_mut())
        .await
        .map_err(failed)?;
    let detail = requeue_detail(letter);
    note(&mut tx, now, intervention, "requeue", detail).await.map_err(failed)?;
    end(tx, intervention).await.map(|()| Requeued::Done { payload: letter.payload })
}

pub(super) async fn discard(
    store: &SqliteStore,
    intervention: &Intervention,
) -> Result<Discarded, StoreError> {
    let failed = |error| classify(error, "could not discard the dead letter");
    let Found { id: consumer, .. } = find(store, &intervention.consumer).await?;
    let mut tx = tx::begin(store).await?;
    let Some(letter) = letter_of(tx.connection_mut(), consumer, intervention.key).await? else {
        return Box::new(tx).rollback().await.map(|()| Discarded::NotThere);
    };
    forget_letter(tx.connection_mut(), consumer, intervention.key).await.map_err(failed)?;
    let letter = letter.summary;
    note(&mut tx, store.now(), intervention, "discard", &letter.reason).await.map_err(failed)?;
    end(tx, intervention).await.map(|()| Discarded::Done(Box::new(letter)))
}

async fn look(
    tx: &mut SqliteTx,
    consumer: ConsumerId,
    window: i64,
    now: Now,
    intervention: &Intervention,
) -> Result<Seen, sqlx::Error> {
    let row = seen_row(tx.connection_mut(), consumer, intervention.key).await?;
    seen(&row, window, now)
}

/// Removes the claim and what is beside it.
async fn free(
    connection: &mut SqliteConnection,
    consumer: ConsumerId,
    intervention: &Intervention,
) -> Result<(), sqlx::Error> {
    for statement in [
        include_str!("../sql/forget.sql"),
        include_str!("../sql/forget_lease.sql"),
        include_str!("sql/forget_record.sql"),
    ] {
        sqlx::query(statement)
            .bind(consumer.get())
            .bind(intervention.key.as_bytes().as_slice())
            .execute(&mut *connection)
            .await?;
    }
    forget_in(connection, consumer, intervention.key).await
}

async fn requeued_by(
    connection: &mut SqliteConnection,
    intervention: &Intervention,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar(include_str!("sql/requeued_by.sql"))
        .bind(&*intervention.consumer)
        .bind(intervention.key.as_bytes().as_slice())
        .fetch_optional(connection)
        .await
}

async fn note(
    tx: &mut SqliteTx,
    now: Now,
    intervention: &Intervention,
    action: &str,
    detail: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(include_str!("sql/note.sql"))
        .bind(&*intervention.actor)
        .bind(action)
        .bind(&*intervention.consumer)
        .bind(intervention.key.as_bytes().as_slice())
        .bind(detail)
        .bind(now.floor())
        .execute(tx.connection_mut())
        .await
        .map(drop)
}

async fn end(tx: SqliteTx, intervention: &Intervention) -> Result<(), StoreError> {
    let tx = Box::new(tx);
    if intervention.dry_run { tx.rollback().await } else { tx.commit().await }
}
