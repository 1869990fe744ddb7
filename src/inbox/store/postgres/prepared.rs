use sqlx::{AssertSqlSafe, Postgres, SqlSafeStr};
use xxhash_rust::xxh64::xxh64;

use super::{
    PgStore,
    claim::{MAX_TRIES, acquire},
    error::{IN_FAILED_TRANSACTION, NO_SUCH_PREPARED, PREPARED_EXISTS},
    statement::lost_a_race,
};
use crate::{error::StoreError, inbox::store::sql_tx::Held};

/// A statement that a session prepares for itself, and that a simple query can then execute.
///
/// There is no place for bound values in a simple query. Everything formatted into one is an integer
/// or hexadecimal digits of our own making.
pub(super) struct Prepared {
    name: String,
    text: &'static str,
    types: &'static [&'static str],
}

/// A connection with the transaction that was asked for, or the database's own words why not.
pub(super) enum Begun {
    Open(Held<Postgres>),
    Refused(Held<Postgres>, sqlx::Error),
}

impl Prepared {
    /// Named after its text, so that two releases behind one pooler never execute each other's.
    pub(super) fn new(title: &str, text: &'static str, types: &'static [&'static str]) -> Self {
        Self { name: format!("{title}_{:016x}", xxh64(text.as_bytes(), 0)), text, types }
    }

    /// Executes the statement, and begins with `begin`, in one round trip. Surprises that a session
    /// may have in store are seen to here.
    pub(super) async fn execute_and(
        &self,
        begin: &str,
        store: &PgStore,
        values: &[String],
    ) -> Result<Begun, StoreError> {
        let mut held = acquire(store).await?;
        let mut form = if store.prepared { Form::Execute } else { Form::Plain };
        let mut tries = 0;
        loop {
            let statement = self.statement(form, values) + ";" + begin;
            let Err(error) = held.begin(AssertSqlSafe(statement).into_sql_str()).await else {
                return Ok(Begun::Open(held));
            };
            tries += 1;
            match error.as_database_error().and_then(|error| error.code()).as_deref() {
                // A session that has not claimed before, or behind a pooler another one than we saw.
                Some(NO_SUCH_PREPARED) if tries < MAX_TRIES => form = Form::Prepare,
                Some(PREPARED_EXISTS) if tries < MAX_TRIES => form = Form::Execute,
                Some(NO_SUCH_PREPARED | PREPARED_EXISTS) => form = Form::Plain,
                // Whoever had the session before left a failed transaction in it. (Not the inbox: a
                // host whose own `begin` was dropped leaves one open, and a duplicate makes it fail.)
                Some(IN_FAILED_TRANSACTION) if tries < MAX_TRIES => {
                    held.discard();
                    held = acquire(store).await?;
                }
                // The session's default isolation is not `read committed` and somebody was faster.
                _ if lost_a_race(&error) && tries < MAX_TRIES => {}
                _ => return Ok(Begun::Refused(held, error)),
            }
        }
    }

    fn statement(&self, form: Form, values: &[String]) -> String {
        let Self { name, text, types } = self;
        let execute = || format!("execute {name}({})", values.join(","));
        match form {
            Form::Execute => execute(),
            Form::Prepare => format!("prepare {name}({}) as {text};{}", types.join(","), execute()),
            Form::Plain => {
                let mut plain = (*text).to_owned();
                for (index, (value, kind)) in values.iter().zip(*types).enumerate() {
                    plain =
                        plain.replace(&format!("${}", index + 1), &format!("({value})::{kind}"));
                }
                plain
            }
        }
    }
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
