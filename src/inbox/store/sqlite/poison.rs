use std::collections::HashSet;

use sqlx::{SqliteConnection, SqliteExecutor};

use super::{
    Now, SqliteStore,
    batch::{concat, holders, parse},
    claim::{Holder, holder, take},
    error::classify,
    sweep::seconds,
    tx::{self, SqliteTx},
};
use crate::{
    error::StoreError,
    hook::BoxFuture,
    inbox::store::{
        Attempt, Attempts, Begun, Burial, Buried, ConsumerId, Failure, OpenTx, PoisonStore,
    },
    key::InboxKey,
};

#[deny(clippy::missing_trait_methods)]
impl PoisonStore for SqliteStore {
    fn begin_attempt(&self, attempt: Attempt) -> BoxFuture<'static, Result<Begun, StoreError>> {
        let store = self.clone();
        Box::pin(async move { begin_attempt(&store, attempt).await })
    }

    fn withdraw_attempt(
        &self,
        consumer: ConsumerId,
        key: InboxKey,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let store = self.clone();
        Box::pin(async move { withdraw_attempt(&store, consumer, key).await })
    }

    fn fail_attempt(&self, failure: Failure) -> BoxFuture<'static, Result<Attempts, StoreError>> {
        let store = self.clone();
        Box::pin(async move { fail_attempt(&store, failure).await })
    }

    fn forget_attempts<'a>(
        &'a self,
        connection: &'a mut SqliteConnection,
        consumer: ConsumerId,
        key: InboxKey,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(forget_attempts(connection, consumer, key))
    }

    fn drop_attempts(
        &self,
        consumer: ConsumerId,
        key: InboxKey,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let store = self.clone();
        Box::pin(async move { drop_attempts(&store, consumer, key).await })
    }

    fn begin_together(
        &self,
        consumer: ConsumerId,
        keys: Vec<InboxKey>,
        mark: bool,
    ) -> BoxFuture<'static, Result<Vec<bool>, StoreError>> {
        let store = self.clone();
        Box::pin(async move { begin_together(&store, consumer, &keys, mark).await })
    }

    fn end_together<'a>(
        &'a self,
        connection: &'a mut SqliteConnection,
        consumer: ConsumerId,
        keys: Vec<InboxKey>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { end_together(connection, consumer, &keys).await })
    }

    fn bury(&self, burial: Burial) -> BoxFuture<'static, Result<bool, StoreError>> {
        let store = self.clone();
        Box::pin(async move { bury(&store, burial).await })
    }

    fn buried(
        &self,
        consumer: ConsumerId,
        key: InboxKey,
    ) -> BoxFuture<'static, Result<Buried, StoreError>> {
        let store = self.clone();
        Box::pin(async move { buried(&store, consumer, key).await })
    }
}

async fn begin_attempt(store: &SqliteStore, attempt: Attempt) -> Result<Begun, StoreError> {
    let Attempt { consumer, key, limit, presumed_dead_after } = attempt;
    let mut tx = tx::begin(store).await?;
    let now = store.now();
    let holder = holder(tx.connection_mut(), consumer, key, now).await.map_err(failed)?;
    let moment_ago = now.floor() - seconds(presumed_dead_after);
    let begun = match holder {
        Holder::Claim(earlier) => Begun::Handled(earlier),
        Holder::Lease => Begun::InFlight,
        Holder::Nobody
            if may_still_come(&mut tx, consumer, key, limit, moment_ago, now).await? =>
        {
            Begun::InFlight
        }
        Holder::Nobody => {
            let (started, finished) = sqlx::query_as(include_str!("sql/begin_attempt.sql"))
                .bind(consumer.get())
                .bind(key.as_bytes().as_slice())
                .bind(now.floor())
                .fetch_one(tx.connection_mut())
                .await
                .map_err(failed)?;
            Box::new(tx).commit().await?;
            return Ok(Begun::Counted(Attempts::new(started, finished)));
        }
    };
    Box::new(tx).rollback().await.map(|()| begun)
}

/// Whether there were as many starts as the limit, and whoever was the last may be on the way to the
/// claim.
async fn may_still_come(
    tx: &mut SqliteTx,
    consumer: ConsumerId,
    key: InboxKey,
    limit: u32,
    moment_ago: i64,
    now: Now,
) -> Result<bool, StoreError> {
    sqlx::query_scalar(include_str!("sql/may_still_come.sql"))
        .bind(consumer.get())
        .bind(key.as_bytes().as_slice())
        .bind(limit)
        .bind(moment_ago)
        .bind(now.floor())
        .fetch_one(tx.connection_mut())
        .await
        .map_err(failed)
}

async fn withdraw_attempt(
    store: &SqliteStore,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<(), StoreError> {
    sqlx::query(include_str!("sql/withdraw_attempt.sql"))
        .bind(consumer.get())
        .bind(key.as_bytes().as_slice())
        .execute(&store.pool)
        .await
        .map(drop)
        .map_err(failed)
}

async fn fail_attempt(store: &SqliteStore, failure: Failure) -> Result<Attempts, StoreError> {
    let (started, finished) = sqlx::query_as(include_str!("sql/fail_attempt.sql"))
        .bind(failure.consumer.get())
        .bind(failure.key.as_bytes().as_slice())
        .bind(failure.reason)
        .bind(i64::from(!failure.begun))
        .bind(store.now().floor())
        .fetch_one(&store.pool)
        .await
        .map_err(failed)?;
    Ok(Attempts::new(started, finished))
}

async fn forget_attempts(
    connection: &mut SqliteConnection,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<(), StoreError> {
    forget_letter(&mut *connection, consumer, key).await.map_err(failed)?;
    forget_in(connection, consumer, key).await.map_err(failed)
}

async fn drop_attempts(
    store: &SqliteStore,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<(), StoreError> {
    forget_letter(&store.pool, consumer, key).await.map_err(failed)?;
    forget_in(&store.pool, consumer, key).await.map_err(failed)
}

async fn begin_together(
    store: &SqliteStore,
    consumer: ConsumerId,
    keys: &[InboxKey],
    mark: bool,
) -> Result<Vec<bool>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    if !mark {
        let mut connection = store.pool.acquire().await.map_err(failed)?;
        return tried(&mut connection, consumer, keys).await.map_err(failed);
    }
    let mut tx = tx::begin(store).await?;
    let now = store.now();
    let tried = tried(tx.connection_mut(), consumer, keys).await.map_err(failed)?;
    let held = holders(tx.connection_mut(), consumer, keys, now).await.map_err(failed)?;
    let free: Vec<InboxKey> = keys
        .iter()
        .zip(&tried)
        .filter(|(key, tried)| !**tried && !held.contains_key(key))
        .map(|(key, _)| *key)
        .collect();
    if free.is_empty() {
        return Box::new(tx).rollback().await.map(|()| tried);
    }
    sqlx::query(include_str!("sql/mark_together.sql"))
        .bind(consumer.get())
        .bind(concat(&free))
        .bind(now.floor())
        .execute(tx.connection_mut())
        .await
        .map_err(failed)?;
    Box::new(tx).commit().await.map(|()| tried)
}

async fn tried(
    connection: &mut SqliteConnection,
    consumer: ConsumerId,
    keys: &[InboxKey],
) -> Result<Vec<bool>, sqlx::Error> {
    let tried: Vec<Vec<u8>> = sqlx::query_scalar(include_str!("sql/tried.sql"))
        .bind(consumer.get())
        .bind(concat(keys))
        .fetch_all(connection)
        .await?;
    let tried: HashSet<InboxKey> = tried.iter().filter_map(|key| parse(key)).collect();
    Ok(keys.iter().map(|key| tried.contains(key)).collect())
}

async fn end_together(
    connection: &mut SqliteConnection,
    consumer: ConsumerId,
    keys: &[InboxKey],
) -> Result<(), StoreError> {
    for statement in [include_str!("sql/forget_letters.sql"), include_str!("sql/end_together.sql")]
    {
        sqlx::query(statement)
            .bind(consumer.get())
            .bind(concat(keys))
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    Ok(())
}

async fn bury(store: &SqliteStore, burial: Burial) -> Result<bool, StoreError> {
    let failed = |error| classify(error, "could not put a message among the dead letters");
    let Burial { consumer, key, window, attempts, reason, payload } = burial;
    let mut tx = tx::begin(store).await?;
    let now = store.now();
    let Holder::Nobody = holder(tx.connection_mut(), consumer, key, now).await.map_err(failed)?
    else {
        return Box::new(tx).rollback().await.map(|()| false);
    };
    let until = now.after(window);
    take(tx.connection_mut(), consumer, key, until).await.map_err(failed)?;
    sqlx::query(include_str!("sql/forget_lease.sql"))
        .bind(consumer.get())
        .bind(key.as_bytes().as_slice())
        .execute(tx.connection_mut())
        .await
        .map_err(failed)?;
    let first_at: Option<i64> = sqlx::query_scalar(include_str!("sql/first_attempt.sql"))
        .bind(consumer.get())
        .bind(key.as_bytes().as_slice())
        .fetch_optional(tx.connection_mut())
        .await
        .map_err(failed)?;
    forget_in(tx.connection_mut(), consumer, key).await.map_err(failed)?;
    sqlx::query(include_str!("sql/bury.sql"))
        .bind(consumer.get())
        .bind(key.as_bytes().as_slice())
        .bind(attempts.started)
        .bind(attempts.finished)
        .bind(first_at.unwrap_or(now.floor()))
        .bind(now.floor())
        .bind(until)
        .bind(reason)
        .bind(payload)
        .execute(tx.connection_mut())
        .await
        .map_err(failed)?;
    Box::new(tx).commit().await?;
    Ok(true)
}

async fn buried(
    store: &SqliteStore,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<Buried, StoreError> {
    let found: Option<(u32, u32, bool)> = sqlx::query_as(include_str!("sql/buried.sql"))
        .bind(consumer.get())
        .bind(key.as_bytes().as_slice())
        .fetch_optional(&store.pool)
        .await
        .map_err(|error| classify(error, "could not look a dead letter up"))?;
    Ok(match found {
        None => Buried::No,
        Some((.., true)) => Buried::Freed,
        Some((started, finished, false)) => Buried::Dead(Attempts::new(started, finished)),
    })
}

pub(super) async fn forget_letter<'c>(
    executor: impl SqliteExecutor<'c>,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<(), sqlx::Error> {
    sqlx::query(include_str!("sql/forget_letter.sql"))
        .bind(consumer.get())
        .bind(key.as_bytes().to_vec())
        .execute(executor)
        .await
        .map(drop)
}

pub(super) async fn forget_in<'c>(
    executor: impl SqliteExecutor<'c>,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<(), sqlx::Error> {
    sqlx::query(include_str!("sql/forget_attempts.sql"))
        .bind(consumer.get())
        .bind(key.as_bytes().to_vec())
        .execute(executor)
        .await
        .map(drop)
}

fn failed(error: sqlx::Error) -> StoreError {
    classify(error, "could not count an attempt at a message")
}
