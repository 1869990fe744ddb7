use sqlx::{AssertSqlSafe, Postgres, SqlSafeStr, postgres::PgRow};

use super::{
    PgStore,
    claim::{acquire, acquire_other},
    error::{
        DEADLOCK, IN_FAILED_TRANSACTION, NO_SUCH_PREPARED, NOT_ALONE, PREPARED_EXISTS,
        SERIALIZATION_FAILURE, UNIQUE_VIOLATION, ends_session,
    },
};
use crate::{error::StoreError, inbox::store::sql_tx::Held};

pub(super) use crate::sql::Statement;

impl Statement {
    /// Fetches the row of a statement that is executed often, which sessions keep as a prepared one
    /// if the store says so; again if it took no effect because another transaction was faster.
    pub(super) async fn fetch_often(&self, store: &PgStore) -> Result<PgRow, sqlx::Error> {
        let mut connection = store.pool.acquire().await?;
        let mut text = if store.prepared { self.execution() } else { self.plain() };
        let mut tries = 0;
        loop {
            let row = sqlx::raw_sql(AssertSqlSafe(text.clone())).fetch_one(&mut *connection).await;
            let Err(error) = row else { return row };
            tries += 1;
            match code(&error).as_deref() {
                // A session that has not executed it before, or behind a pooler another one.
                Some(NO_SUCH_PREPARED) if tries < MAX_TRIES => text = self.preparation(),
                Some(PREPARED_EXISTS) if tries < MAX_TRIES => text = self.execution(),
                Some(NO_SUCH_PREPARED | PREPARED_EXISTS) => text = self.plain(),
                // Whoever had the session before left a transaction in it: a host whose own `begin`
                // was dropped (launchbadge/sqlx#4385).
                Some(NOT_ALONE | IN_FAILED_TRANSACTION) if tries < MAX_TRIES => {
                    connection.close_on_drop();
                    connection = store.pool.acquire().await?;
                }
                _ if lost_a_race(&error) && tries < MAX_TRIES => {}
                _ => {
                    if matches!(code(&error).as_deref(), Some(NOT_ALONE | IN_FAILED_TRANSACTION)) {
                        connection.close_on_drop();
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Executes the statement and then what begins a transaction, in one round trip.
    ///
    /// A simple query of several statements runs in an implicit transaction, and a `begin` in it turns
    /// that one into an explicit one; so what the statement did belongs to the transaction. Where it
    /// raises an error, that is before the `begin`, and leaves the session idle and clean. (The other
    /// order, `begin;execute …`, would leave an aborted transaction behind.)
    /// Source: <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-MULTI-STATEMENT>
    pub(super) async fn then(&self, begin: &str, store: &PgStore) -> Result<Begun, StoreError> {
        begin_with(store, |form| {
            let text = match form {
                Form::Execute => self.execution(),
                Form::Prepare => self.preparation(),
                Form::Plain => self.plain(),
            };
            text + ";" + begin
        })
        .await
    }
}

/// Begins with a statement that the session may have prepared. Surprises that a session may have in
/// store are seen to here.
pub(super) async fn begin_with(
    store: &PgStore,
    statement: impl Fn(Form) -> String,
) -> Result<Begun, StoreError> {
    let mut held = acquire(store).await?;
    let mut form = if store.prepared { Form::Execute } else { Form::Plain };
    let mut tries = 0;
    loop {
        let Err(error) = held.begin(AssertSqlSafe(statement(form)).into_sql_str()).await else {
            return Ok(Begun::Open(held));
        };
        if held.was_kept() && ends_session(&error) {
            // It died since the delivery before. Nothing was committed: a transaction that nobody
            // has ended is gone with its session.
            held.discard();
            held = acquire_other(store).await?;
            continue;
        }
        tries += 1;
        match code(&error).as_deref() {
            // A session that has not executed it before, or behind a pooler another one.
            Some(NO_SUCH_PREPARED) if tries < MAX_TRIES => form = Form::Prepare,
            Some(PREPARED_EXISTS) if tries < MAX_TRIES => form = Form::Execute,
            Some(NO_SUCH_PREPARED | PREPARED_EXISTS) => form = Form::Plain,
            // Whoever had the session before left a failed transaction in it. (Not the inbox: a host
            // whose own `begin` was dropped leaves one open, and a duplicate makes it fail.)
            Some(IN_FAILED_TRANSACTION) if tries < MAX_TRIES => {
                held.discard();
                held = acquire_other(store).await?;
            }
            // Somebody was faster: committed between our look and our insert, or under a session's
            // stricter isolation level.
            Some(UNIQUE_VIOLATION) if tries < MAX_TRIES => {}
            _ if lost_a_race(&error) && tries < MAX_TRIES => {}
            _ => return Ok(Begun::Refused(held, error)),
        }
    }
}

/// How a statement is sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// Executes what the session has prepared.
    Execute,
    /// Prepares it first.
    Prepare,
    /// Sends the whole text, to be parsed and planned.
    Plain,
}

/// A connection with the transaction that was asked for, or the database's own words why not.
pub(super) enum Begun {
    Open(Held<Postgres>),
    Refused(Held<Postgres>, sqlx::Error),
}

/// Whether a statement took no effect because another transaction was faster.
pub(super) fn lost_a_race(error: &sqlx::Error) -> bool {
    matches!(code(error).as_deref(), Some(SERIALIZATION_FAILURE | DEADLOCK))
}

fn code(error: &sqlx::Error) -> Option<std::borrow::Cow<'_, str>> {
    error.as_database_error().and_then(|error| error.code())
}

// Each try answers one surprise: not prepared, prepared by somebody else meanwhile, a race that was
// lost.
pub(super) const MAX_TRIES: u32 = 4;
