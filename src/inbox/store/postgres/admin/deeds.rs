use sqlx::{PgConnection, Row};

use super::{
    super::{
        PgStore,
        claim::{self, lock_id},
        error::{LOCK_NOT_AVAILABLE, classify},
        statement::Statement,
    },
    look::{Found, find, letter_query, letter_row, seen, seen_query},
};
use crate::{
    error::StoreError,
    inbox::store::{
        BoxTx, ConsumerId, Discarded, Forgotten, Intervention, Requeued,
        admin::{Seen, requeue_detail},
    },
};

pub(super) async fn forget(
    store: &PgStore,
    intervention: &Intervention,
) -> Result<Forgotten, StoreError> {
    let failed = |error| classify(error, "could not forget the message");
    let Found { id: consumer, window, .. } =
        find(store, &intervention.consumer).await?.in_flat(&intervention.consumer, true)?;
    let Some(mut tx) = lock(store, consumer, intervention).await? else {
        return Ok(Forgotten::InTransaction);
    };
    let seen = look(store, tx.connection_mut(), consumer, window, intervention).await?;
    let state = match seen.forget(intervention.force) {
        Ok(state) => state,
        Err(refused) => return tx.rollback().await.map(|()| refused),
    };
    free(tx.connection_mut(), consumer, intervention).await.map_err(failed)?;
    note(store, tx.connection_mut(), intervention, "forget", &state.detail())
        .await
        .map_err(failed)?;
    end(tx, intervention).await.map(|()| Forgotten::Done(state))
}

pub(super) async fn requeue(
    store: &PgStore,
    intervention: &Intervention,
) -> Result<Requeued, StoreError> {
    let failed = |error| classify(error, "could not requeue the dead letter");
    let Found { id: consumer, window, .. } =
        find(store, &intervention.consumer).await?.in_flat(&intervention.consumer, true)?;
    let Some(mut tx) = lock(store, consumer, intervention).await? else {
        return Ok(Requeued::InFlight);
    };
    let seen = look(store, tx.connection_mut(), consumer, window, intervention).await?;
    let letter = match seen.requeue(intervention.force) {
        Ok(letter) => letter,
        Err(Requeued::Already { at, .. }) => {
            let by = requeued_by(tx.connection_mut(), intervention).await.map_err(failed)?;
            return tx.rollback().await.map(|()| Requeued::Already { at, by });
        }
        Err(refused) => return tx.rollback().await.map(|()| refused),
    };
    free(tx.connection_mut(), consumer, intervention).await.map_err(failed)?;
    Statement::new(include_str!("sql/requeue.sql"))
        .value(consumer.get())
        .value(intervention.key)
        .value(store.now())
        .execute_in(tx.connection_mut())
        .await
        .map_err(failed)?;
    let detail = requeue_detail(letter);
    note(store, tx.connection_mut(), intervention, "requeue", detail).await.map_err(failed)?;
    end(tx, intervention).await.map(|()| Requeued::Done { payload: letter.payload })
}

pub(super) async fn discard(
    store: &PgStore,
    intervention: &Intervention,
) -> Result<Discarded, StoreError> {
    let failed = |error| classify(error, "could not discard the dead letter");
    let Found { id: consumer, .. } = find(store, &intervention.consumer).await?;
    let mut tx = begin(store).await?;
    let row = letter_query(consumer, intervention.key)
        .fetch_optional_in(tx.connection_mut())
        .await
        .map_err(failed)?;
    let Some(row) = row else {
        return tx.rollback().await.map(|()| Discarded::NotThere);
    };
    let (letter, _) = letter_row(&row).map_err(failed)?;
    let deleted = Statement::new(include_str!("sql/discard.sql"))
        .value(consumer.get())
        .value(intervention.key)
        .execute_in(tx.connection_mut())
        .await
        .map_err(failed)?;
    if deleted.rows_affected() == 0 {
        // Somebody was faster.
        return tx.rollback().await.map(|()| Discarded::NotThere);
    }
    note(store, tx.connection_mut(), intervention, "discard", &letter.reason)
        .await
        .map_err(failed)?;
    end(tx, intervention).await.map(|()| Discarded::Done(Box::new(letter)))
}

/// Opens a transaction that sees what is committed before each of its statements, whatever the
/// session's default is, and that nobody has to wait for for long.
async fn begin(store: &PgStore) -> Result<BoxTx<PgConnection>, StoreError> {
    let mut tx = claim::begin(store).await?;
    sqlx::raw_sql(include_str!("sql/settings.sql"))
        .execute(tx.connection_mut())
        .await
        .map_err(|error| classify(error, "could not begin a transaction"))?;
    Ok(tx)
}

/// Keeps deliveries of the message out, and the claim's row as it is; `None` while one is at it.
///
/// Waits a little: who is told of a duplicate holds the lock for a moment.
async fn lock(
    store: &PgStore,
    consumer: ConsumerId,
    intervention: &Intervention,
) -> Result<Option<BoxTx<PgConnection>>, StoreError> {
    let mut tx = begin(store).await?;
    let lock =
        Statement::new(include_str!("sql/lock.sql")).value(lock_id(consumer, intervention.key));
    if let Err(error) = lock.execute_in(tx.connection_mut()).await {
        let code = error.as_database_error().and_then(|error| error.code());
        if code.as_deref() == Some(LOCK_NOT_AVAILABLE) {
            return tx.rollback().await.map(|()| None);
        }
        return Err(classify(error, "could not lock the message"));
    }
    Statement::new(include_str!("sql/lock_claim.sql"))
        .value(consumer.get())
        .value(intervention.key)
        .execute_in(tx.connection_mut())
        .await
        .map_err(|error| classify(error, "could not lock the claim"))?;
    Ok(Some(tx))
}

async fn look(
    store: &PgStore,
    connection: &mut PgConnection,
    consumer: ConsumerId,
    window: i64,
    intervention: &Intervention,
) -> Result<Seen, StoreError> {
    seen_query(store, consumer, intervention.key)
        .fetch_in(connection)
        .await
        .and_then(|row| seen(&row, window))
        // The lock is our own.
        .map(|seen| Seen { locked: false, ..seen })
        .map_err(|error| classify(error, "could not look at the message"))
}

/// Removes the claim and what is beside it.
async fn free(
    connection: &mut PgConnection,
    consumer: ConsumerId,
    intervention: &Intervention,
) -> Result<(), sqlx::Error> {
    Statement::new(include_str!("sql/forget.sql"))
        .value(consumer.get())
        .value(intervention.key)
        .execute_in(connection)
        .await
        .map(drop)
}

async fn requeued_by(
    connection: &mut PgConnection,
    intervention: &Intervention,
) -> Result<Option<String>, sqlx::Error> {
    let row = Statement::new(include_str!("sql/requeued_by.sql"))
        .value(&*intervention.consumer)
        .value(intervention.key)
        .fetch_optional_in(connection)
        .await?;
    row.map(|row| row.try_get(0)).transpose()
}

async fn note(
    store: &PgStore,
    connection: &mut PgConnection,
    intervention: &Intervention,
    action: &str,
    detail: &str,
) -> Result<(), sqlx::Error> {
    Statement::new(include_str!("sql/note.sql"))
        .value(&*intervention.actor)
        .value(action)
        .value(&*intervention.consumer)
        .value(intervention.key)
        .value(detail)
        .value(store.now())
        .execute_in(connection)
        .await
        .map(drop)
}

async fn end(tx: BoxTx<PgConnection>, intervention: &Intervention) -> Result<(), StoreError> {
    if intervention.dry_run { tx.rollback().await } else { tx.commit().await }
}
