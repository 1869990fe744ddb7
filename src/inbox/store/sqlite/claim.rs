use std::time::Duration;

use sqlx::SqliteConnection;

use super::{
    Now, SqliteStore,
    error::classify,
    tx::{self, Inserted, SqliteTx},
};
use crate::{
    error::StoreError,
    inbox::store::{Claim, Claimed, ConsumerId, Earlier, KeyClaimed, OpenTx},
    key::InboxKey,
};

/// Claims and begins in one visit to the connection's thread. Only what is in the way of the insert
/// needs a second look.
///
/// The insert runs with the begin, which takes no bound values; everything formatted in here is an
/// integer or hexadecimal digits of our own making.
pub(super) async fn claim(
    store: &SqliteStore,
    claim: Claim,
) -> Result<Claimed<SqliteConnection>, StoreError> {
    let Claim { consumer, key, window, .. } = claim;
    // The writer may be waited for; the window begins after that, by SQLite's own reading of the
    // clock, whose rounding down one more second makes up for.
    let expires_at = match store.clock {
        Some(_) => store.now().after(window).to_string(),
        None => format!("unixepoch() - {EPOCH_S} + 1 + {}", window.as_secs()),
    };
    let insert = format!(
        "insert or rollback into tower_inbox_inbox (consumer, key, expires_at) \
         values ({consumer}, x'{:032x}', {expires_at})",
        u128::from_be_bytes(*key.as_bytes()),
    );
    match tx::begin_with_insert(store, insert).await? {
        Inserted::Yes(tx) => Ok(Claimed::Won(Box::new(tx))),
        Inserted::Conflict(tx) => contend(store, tx, claim).await,
    }
}

/// Takes over an expired claim, or says who is there.
async fn contend(
    store: &SqliteStore,
    mut tx: SqliteTx,
    claim: Claim,
) -> Result<Claimed<SqliteConnection>, StoreError> {
    match contend_in(tx.connection_mut(), claim, store.now()).await? {
        KeyClaimed::Won => Ok(Claimed::Won(Box::new(tx))),
        KeyClaimed::Duplicate(earlier) => {
            Box::new(tx).rollback().await.map(|()| Claimed::Duplicate(earlier))
        }
        KeyClaimed::InFlight => Box::new(tx).rollback().await.map(|()| Claimed::InFlight),
    }
}

/// The same in a transaction of others.
pub(super) async fn contend_in(
    connection: &mut SqliteConnection,
    claim: Claim,
    now: Now,
) -> Result<KeyClaimed, StoreError> {
    let Claim { consumer, key, window, .. } = claim;
    match holder(connection, consumer, key, now).await.map_err(failed)? {
        Holder::Claim(earlier) => Ok(KeyClaimed::Duplicate(earlier)),
        Holder::Lease => Ok(KeyClaimed::InFlight),
        Holder::Nobody => {
            take(connection, consumer, key, now.after(window)).await.map_err(failed)?;
            sqlx::query(include_str!("sql/forget_lease.sql"))
                .bind(consumer.get())
                .bind(key.as_bytes().as_slice())
                .execute(connection)
                .await
                .map_err(failed)?;
            Ok(KeyClaimed::Won)
        }
    }
}

/// Who has a message at a moment.
pub(super) enum Holder {
    Nobody,
    Claim(Earlier),
    Lease,
}

pub(super) async fn holder(
    connection: &mut SqliteConnection,
    consumer: ConsumerId,
    key: InboxKey,
    now: Now,
) -> Result<Holder, sqlx::Error> {
    let found: Option<(i64, Option<i64>, Option<i64>)> =
        sqlx::query_as(include_str!("sql/holder.sql"))
            .bind(consumer.get())
            .bind(key.as_bytes().as_slice())
            .fetch_optional(connection)
            .await?;
    Ok(match found {
        Some((expires_at, lease_until, window_s)) if expires_at > now.floor() => {
            match lease_until {
                Some(_) => Holder::Lease,
                None => Holder::Claim(earlier(expires_at, window_s, now)),
            }
        }
        _ => Holder::Nobody,
    })
}

/// Counts back from the end of a claim by the window that the consumer has now.
pub(super) fn earlier(expires_at: i64, window_s: Option<i64>, now: Now) -> Earlier {
    // Up to two seconds are rounding.
    let age = window_s.map(|window_s| now.floor() - (expires_at - window_s));
    match age.filter(|age| *age >= -2) {
        Some(age) => Earlier::ago(Duration::from_secs(u64::try_from(age).unwrap_or(0))),
        None => Earlier::unknown(),
    }
}

/// Writes the claim, whether an expired one is there or not.
pub(super) async fn take(
    connection: &mut SqliteConnection,
    consumer: ConsumerId,
    key: InboxKey,
    expires_at: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(include_str!("sql/take.sql"))
        .bind(consumer.get())
        .bind(key.as_bytes().as_slice())
        .bind(expires_at)
        .execute(connection)
        .await
        .map(drop)
}

/// 2020-01-01 00:00:00 UTC in Unix seconds.
const EPOCH_S: i64 = 1_577_836_800;

fn failed(error: sqlx::Error) -> StoreError {
    classify(error, "could not claim the message")
}
