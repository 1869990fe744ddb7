use std::{sync::LazyLock, time::Duration};

use sqlx::{AssertSqlSafe, Postgres, SqlSafeStr, postgres::PgDatabaseError};
use xxhash_rust::xxh64::xxh64;

use super::{
    PgStore,
    error::{
        DUPLICATE, IN_FAILED_TRANSACTION, IN_FLIGHT, NO_SUCH_PREPARED, PREPARED_EXISTS, classify,
    },
    statement::lost_a_race,
    tx::PgTx,
};
use crate::{
    error::StoreError,
    inbox::store::{BoxTx, Claim, Claimed, ConsumerId, Earlier, sql_tx::Held},
    key::InboxKey,
};

/// Claims and begins in one round trip.
///
/// A simple query of several statements runs in an implicit transaction, and a `BEGIN` in it turns
/// that one into an explicit one; so in `execute …;begin` the claim is part of the transaction that
/// the handler gets. A duplicate raises before the `begin`, which leaves the session idle and clean.
/// (The other order, `begin;execute …`, would leave an aborted transaction behind.)
/// Source: <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-MULTI-STATEMENT>
///
/// There is no place for bound values in a simple query. Everything formatted in here is an integer
/// or hexadecimal digits of our own making.
pub(super) async fn claim(
    store: &PgStore,
    claim: Claim,
) -> Result<Claimed<sqlx::PgConnection>, StoreError> {
    let mut held = acquire(store).await?;
    let values = Values::new(store, &claim);
    let mut form = if store.prepared { Form::Execute } else { Form::Plain };
    let mut tries = 0;
    loop {
        let statement = AssertSqlSafe(values.statement(form)).into_sql_str();
        let Err(error) = held.begin(statement).await else {
            return Ok(Claimed::Won(Box::new(PgTx(held))));
        };
        tries += 1;
        match error.as_database_error().and_then(|error| error.code()).as_deref() {
            Some(DUPLICATE) => return Ok(Claimed::Duplicate(earlier(&error))),
            Some(IN_FLIGHT) => return Ok(Claimed::InFlight),
            // A session that has not claimed before, or behind a pooler another one than we saw.
            Some(NO_SUCH_PREPARED) if tries < MAX_TRIES => form = Form::Prepare,
            Some(PREPARED_EXISTS) if tries < MAX_TRIES => form = Form::Execute,
            Some(NO_SUCH_PREPARED | PREPARED_EXISTS) => form = Form::Plain,
            // Whoever had the session before left a failed transaction in it. (Not the inbox: a host
            // whose own `begin` was dropped leaves one open, and a duplicate makes it fail.)
            Some(IN_FAILED_TRANSACTION) if tries < MAX_TRIES => {
                held.discard();
                held = acquire(store).await?;
            }
            // The session's default isolation is not `read committed` and somebody was faster.
            _ if lost_a_race(&error) && tries < MAX_TRIES => {}
            _ => return Err(classify(error, "could not claim the message")),
        }
    }
}

pub(super) async fn begin(store: &PgStore) -> Result<BoxTx<sqlx::PgConnection>, StoreError> {
    let mut held = acquire(store).await?;
    let mut tries = 0;
    while let Err(error) = held.begin("begin".into_sql_str()).await {
        tries += 1;
        let code = error.as_database_error().and_then(|error| error.code());
        if code.as_deref() != Some(IN_FAILED_TRANSACTION) || tries == MAX_TRIES {
            return Err(classify(error, "could not begin a transaction"));
        }
        held.discard();
        held = acquire(store).await?;
    }
    Ok(Box::new(PgTx(held)))
}

/// The number of the advisory lock that one message of one consumer is worked on under.
pub(super) fn lock_id(consumer: ConsumerId, key: InboxKey) -> i64 {
    let mut bytes = [0; 18];
    bytes[..16].copy_from_slice(key.as_bytes());
    bytes[16..].copy_from_slice(&consumer.get().to_be_bytes());
    xxh64(&bytes, 0).cast_signed()
}

/// The age that `tower_inbox.contend` reports with a duplicate.
pub(super) fn earlier(error: &sqlx::Error) -> Earlier {
    let error = error.as_database_error().and_then(|error| error.try_downcast_ref());
    let detail = error.and_then(PgDatabaseError::detail);
    match detail.and_then(|age| age.parse::<u64>().ok()) {
        Some(seconds) => Earlier::ago(Duration::from_secs(seconds)),
        None => Earlier::unknown(),
    }
}

pub(super) async fn acquire(store: &PgStore) -> Result<Held<Postgres>, StoreError> {
    let connection = store
        .pool
        .acquire()
        .await
        .map_err(|error| classify(error, "could not get a connection for a claim"))?;
    Ok(Held::new(connection))
}

#[derive(Clone, Copy)]
enum Form {
    /// Executes the statement that the session has prepared.
    Execute,
    /// Prepares it first.
    Prepare,
    /// Sends the whole text, to be parsed and planned.
    Plain,
}

struct Values {
    consumer: i16,
    key: InboxKey,
    window_s: u32,
    lock_id: i64,
    wait_ms: i32,
    now: Option<f64>,
}

impl Values {
    fn new(store: &PgStore, claim: &Claim) -> Self {
        Self {
            consumer: claim.consumer.get(),
            key: claim.key,
            window_s: claim.window.as_secs(),
            lock_id: lock_id(claim.consumer, claim.key),
            wait_ms: i32::try_from(claim.wait.as_millis()).unwrap_or(i32::MAX),
            now: store.now(),
        }
    }

    fn statement(&self, form: Form) -> String {
        let Self { consumer, key, window_s, lock_id, wait_ms, now } = self;
        let now = now.map_or_else(|| "null".to_owned(), |now| now.to_string());
        let name = &*NAME;
        let execute = format!(
            "execute {name}({consumer},'{key}',{window_s},{lock_id},{wait_ms},{now});begin"
        );
        match form {
            Form::Execute => execute,
            Form::Prepare => {
                format!("prepare {name}(int2,uuid,int4,int8,int4,float8) as {CLAIM};{execute}")
            }
            Form::Plain => {
                let values = [
                    format!("{consumer}::int2"),
                    format!("'{key}'::uuid"),
                    window_s.to_string(),
                    format!("({lock_id})::int8"),
                    wait_ms.to_string(),
                    format!("{now}::float8"),
                ];
                let mut text = CLAIM.to_owned();
                for (index, value) in values.iter().enumerate() {
                    text = text.replace(&format!("${}", index + 1), value);
                }
                text + ";begin"
            }
        }
    }
}

const CLAIM: &str = include_str!("sql/claim.sql");

/// Named after its text, so that two releases behind one pooler never execute each other's.
static NAME: LazyLock<String> =
    LazyLock::new(|| format!("tower_inbox_claim_{:016x}", xxh64(CLAIM.as_bytes(), 0)));

// Each try answers one surprise: not prepared, prepared by somebody else meanwhile, a conflict under
// a stricter isolation level.
pub(super) const MAX_TRIES: u32 = 4;
