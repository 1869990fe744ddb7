use sqlx::SqliteConnection;

use super::{
    Now, SqliteStore,
    claim::{Holder, holder, take},
    error::classify,
    tx,
};
use crate::{
    error::StoreError,
    inbox::store::{Deed, Grant, LeaseClaimed, LeaseRequest, OpenTx},
};

pub(super) async fn lease(
    store: &SqliteStore,
    request: &LeaseRequest,
) -> Result<LeaseClaimed, StoreError> {
    let failed = |error| classify(error, "could not lease the message");
    let LeaseRequest { consumer, key, lease, owner, .. } = request;
    let mut tx = tx::begin(store).await?;
    let now = store.now();
    match holder(tx.connection_mut(), *consumer, *key, now).await.map_err(failed)? {
        Holder::Claim(earlier) => {
            Box::new(tx).rollback().await.map(|()| LeaseClaimed::Duplicate(earlier))
        }
        Holder::Lease => Box::new(tx).rollback().await.map(|()| LeaseClaimed::InFlight),
        Holder::Nobody => {
            let until = now.after(*lease);
            take(tx.connection_mut(), *consumer, *key, until).await.map_err(failed)?;
            let token: i64 = sqlx::query_scalar(include_str!("sql/token.sql"))
                .fetch_one(tx.connection_mut())
                .await
                .map_err(failed)?;
            let attempt: u32 = sqlx::query_scalar(include_str!("sql/lease.sql"))
                .bind(consumer.get())
                .bind(key.as_bytes().as_slice())
                .bind(token)
                .bind(until)
                .bind(&**owner)
                .fetch_one(tx.connection_mut())
                .await
                .map_err(failed)?;
            Box::new(tx).commit().await?;
            Ok(LeaseClaimed::Granted(Grant::new(*consumer, *key, token, attempt)))
        }
    }
}

pub(super) async fn settle(
    store: &SqliteStore,
    grant: Grant,
    deed: Deed,
) -> Result<bool, StoreError> {
    let mut tx = tx::begin(store).await?;
    if settle_in(tx.connection_mut(), grant, deed, store.now()).await? {
        Box::new(tx).commit().await.map(|()| true)
    } else {
        Box::new(tx).rollback().await.map(|()| false)
    }
}

/// Settles inside a transaction that began before `now` was read.
pub(super) async fn settle_in(
    connection: &mut SqliteConnection,
    grant: Grant,
    deed: Deed,
    now: Now,
) -> Result<bool, StoreError> {
    let failed = |error| classify(error, "could not settle the lease");
    let Grant { consumer, key, token, .. } = grant;
    let held: bool = sqlx::query_scalar(include_str!("sql/held.sql"))
        .bind(consumer.get())
        .bind(key.as_bytes().as_slice())
        .bind(token)
        .bind(now.floor())
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if !held {
        return Ok(false);
    }

    let lease_until = match deed {
        Deed::Complete(window) => {
            take(connection, consumer, key, now.after(window)).await.map_err(failed)?;
            None
        }
        // The lease's row stays, for the number of attempts.
        Deed::Release => {
            sqlx::query(include_str!("sql/forget.sql"))
                .bind(consumer.get())
                .bind(key.as_bytes().as_slice())
                .execute(&mut *connection)
                .await
                .map_err(failed)?;
            Some(now.floor())
        }
        Deed::Extend(lease) => {
            take(connection, consumer, key, now.after(lease)).await.map_err(failed)?;
            Some(now.after(lease))
        }
    };
    let update = match lease_until {
        None => sqlx::query(include_str!("sql/forget_lease.sql"))
            .bind(consumer.get())
            .bind(key.as_bytes().to_vec()),
        Some(until) => sqlx::query(include_str!("sql/lease_until.sql"))
            .bind(consumer.get())
            .bind(key.as_bytes().to_vec())
            .bind(until),
    };
    update.execute(connection).await.map_err(failed)?;
    Ok(true)
}
