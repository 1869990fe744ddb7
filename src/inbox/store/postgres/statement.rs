use std::fmt::{self, Write as _};

use sqlx::{
    AssertSqlSafe, PgConnection, PgPool, Postgres, SqlSafeStr,
    postgres::{PgQueryResult, PgRow},
};
use xxhash_rust::xxh64::xxh64;

use super::{
    PgStore,
    claim::{acquire, acquire_other},
    error::{
        DEADLOCK, IN_FAILED_TRANSACTION, NO_SUCH_PREPARED, NOT_ALONE, PREPARED_EXISTS,
        SERIALIZATION_FAILURE, UNIQUE_VIOLATION, ends_session,
    },
};
use crate::{error::StoreError, inbox::store::sql_tx::Held, key::InboxKey};

/// A statement with its values, for use outside of a transaction, or to begin one with.
///
/// # Why its values are not bound
///
/// sqlx sends a statement with bound values in two steps, parse and execute, and after each the
/// session is ready for the next query. A pooler in transaction mode gives it to somebody else in
/// between: what is then executed is what they parsed under the same name, the empty one included.
/// A simple query is one message, and has no place for values. So they are written into it:
/// everything written here is an integer, a number, or hexadecimal digits of our own making.
#[derive(Debug)]
pub(super) struct Statement {
    text: &'static str,
    values: Vec<Value>,
}

impl Statement {
    pub(super) fn new(text: &'static str) -> Self {
        Self { text, values: Vec::new() }
    }

    /// The value of the next `$n`. Up to nine: they are replaced as text.
    pub(super) fn value(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// The value of the next `$n`, where it is nearly always the same: it stands in the text that is
    /// prepared, and another value makes another text. Each value that is left to the execution is
    /// parsed, coerced and evaluated by every one.
    pub(super) fn fixed(mut self, value: impl Into<Value>) -> Self {
        self.values.push(Value { fixed: true, ..value.into() });
        self
    }

    pub(super) async fn execute(&self, pool: &PgPool) -> Result<PgQueryResult, sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(self.plain())).execute(pool).await
    }

    pub(super) async fn fetch_one(&self, pool: &PgPool) -> Result<PgRow, sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(self.plain())).fetch_one(pool).await
    }

    pub(super) async fn fetch_all(&self, pool: &PgPool) -> Result<Vec<PgRow>, sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(self.plain())).fetch_all(pool).await
    }

    pub(super) async fn execute_in(
        &self,
        connection: &mut PgConnection,
    ) -> Result<PgQueryResult, sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(self.plain())).execute(connection).await
    }

    pub(super) async fn fetch_optional_in(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Option<PgRow>, sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(self.plain())).fetch_optional(connection).await
    }

    pub(super) async fn fetch_in(
        &self,
        connection: &mut PgConnection,
    ) -> Result<PgRow, sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(self.plain())).fetch_one(connection).await
    }

    pub(super) async fn fetch_optional(&self, pool: &PgPool) -> Result<Option<PgRow>, sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(self.plain())).fetch_optional(pool).await
    }

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

    fn plain(&self) -> String {
        let numbered = self.values.iter().enumerate();
        numbered.fold(self.text.to_owned(), |text, (index, value)| {
            text.replace(&format!("${}", index + 1), &value.cast())
        })
    }

    fn execution(&self) -> String {
        let values = self.values.iter().filter(|value| !value.fixed);
        let values: Vec<&str> = values.map(|value| &*value.sql).collect();
        format!("execute {}({})", self.name(), values.join(","))
    }

    fn preparation(&self) -> String {
        let mut text = self.text.to_owned();
        let mut kinds = Vec::new();
        for (index, value) in self.values.iter().enumerate() {
            let place = format!("${}", index + 1);
            if value.fixed {
                text = text.replace(&place, &value.cast());
            } else {
                // No number is above its place, so none meets a place that is yet to come.
                kinds.push(value.kind);
                text = text.replace(&place, &format!("${}", kinds.len()));
            }
        }
        format!("prepare {}({}) as {text};{}", self.name(), kinds.join(","), self.execution())
    }

    /// Named after its text and the values in it, so that two layers, or two releases behind one
    /// pooler, never execute each other's.
    fn name(&self) -> String {
        let mut hash = xxh64(self.text.as_bytes(), 0);
        for (index, value) in self.values.iter().enumerate().filter(|(_, value)| value.fixed) {
            hash = xxh64(value.sql.as_bytes(), hash.wrapping_add(index as u64));
        }
        format!("tower_inbox_{hash:016x}")
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

/// A value as SQL, and its type.
#[derive(Debug)]
pub(super) struct Value {
    sql: String,
    kind: &'static str,
    /// Whether it stands in the text of the prepared statement.
    fixed: bool,
}

impl Value {
    fn new(sql: impl Into<String>, kind: &'static str) -> Self {
        Self { sql: sql.into(), kind, fixed: false }
    }

    fn cast(&self) -> String {
        let Self { sql, kind, .. } = self;
        format!("cast({sql} as {kind})")
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::new(yes.to_string(), "bool")
    }
}

impl From<i16> for Value {
    fn from(number: i16) -> Self {
        Self::new(number.to_string(), "int2")
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::new(number.to_string(), "int4")
    }
}

impl From<Option<i32>> for Value {
    fn from(number: Option<i32>) -> Self {
        Self::new(number.map_or("null".into(), |number| number.to_string()), "int4")
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::new(number.to_string(), "int8")
    }
}

impl From<InboxKey> for Value {
    fn from(key: InboxKey) -> Self {
        Self::new(format!("'{key}'"), "uuid")
    }
}

impl From<&[InboxKey]> for Value {
    fn from(keys: &[InboxKey]) -> Self {
        Self::new(list(keys), "uuid[]")
    }
}

impl From<&[i64]> for Value {
    fn from(numbers: &[i64]) -> Self {
        Self::new(list(numbers), "int8[]")
    }
}

impl From<Option<InboxKey>> for Value {
    fn from(key: Option<InboxKey>) -> Self {
        key.map_or_else(|| Self::new("null", "uuid"), Self::from)
    }
}

impl From<Option<f64>> for Value {
    fn from(number: Option<f64>) -> Self {
        Self::new(number.map_or("null".into(), |number| number.to_string()), "float8")
    }
}

impl From<&str> for Value {
    /// Hexadecimal, so that no setting of the session changes what a quote or a backslash means.
    fn from(text: &str) -> Self {
        let hex = hex(text.as_bytes());
        Self::new(format!("convert_from(decode('{hex}','hex'),'UTF8')"), "text")
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        text.map_or_else(|| Self::new("null", "text"), Self::from)
    }
}

impl From<Option<&[u8]>> for Value {
    fn from(bytes: Option<&[u8]>) -> Self {
        let sql =
            bytes.map_or("null".to_owned(), |bytes| format!("decode('{}','hex')", hex(bytes)));
        Self::new(sql, "bytea")
    }
}

fn list(values: &[impl fmt::Display]) -> String {
    let mut text =
        String::with_capacity(values.len() * "00000000-0000-0000-0000-000000000000,".len());
    for (place, value) in values.iter().enumerate() {
        let before = if place == 0 { "'{" } else { "," };
        write!(text, "{before}{value}").expect("a string takes everything");
    }
    text + if values.is_empty() { "'{}'" } else { "}'" }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let digit = |half: u8| char::from_digit(half.into(), 16).expect("half a byte is a digit");
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
        text
    })
}

// Each try answers one surprise: not prepared, prepared by somebody else meanwhile, a race that was
// lost.
pub(super) const MAX_TRIES: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_literals_of_arrays() {
        let key = InboxKey::from_bytes([7; 16]);
        let keys = Value::from(&[key, key][..]);
        assert_eq!((keys.sql, keys.kind), (format!("'{{{key},{key}}}'"), "uuid[]"));
        let numbers = Value::from(&[1_i64, -2][..]);
        assert_eq!((&*numbers.sql, numbers.kind), ("'{1,-2}'", "int8[]"));
        assert_eq!(Value::from(&[0_i64; 0][..]).sql, "'{}'");
    }

    #[test]
    fn fixed_values_are_part_of_the_text_and_of_its_name() {
        let of = |window: i32, clock: Option<f64>| {
            let statement = Statement::new("select f($1, $2, $3, $4)")
                .value(7_i64)
                .fixed(window)
                .fixed(None::<f64>);
            match clock {
                None => statement.fixed(clock),
                Some(_) => statement.value(clock),
            }
        };
        let name = of(60, Some(1.5)).name();
        assert_eq!(
            of(60, Some(1.5)).preparation(),
            format!(
                "prepare {name}(int8,float8) as \
                 select f($1, cast(60 as int4), cast(null as float8), $2);execute {name}(7,1.5)"
            )
        );
        assert_eq!(
            of(60, None).plain(),
            "select f(cast(7 as int8), cast(60 as int4), cast(null as float8), \
             cast(null as float8))"
        );
        assert_eq!(of(60, None).execution(), format!("execute {}(7)", of(60, None).name()));
        let names = [of(60, None).name(), of(61, None).name(), name];
        assert!(names[0] != names[1] && names[0] != names[2] && names[1] != names[2], "{names:?}");
    }

    #[test]
    fn values_are_written_where_they_belong() {
        let statement = Statement::new("select f($1, $2, $3, $1)")
            .value(-7_i16)
            .value("it's $1")
            .value(None::<f64>);
        assert_eq!(
            statement.plain(),
            "select f(cast(-7 as int2), \
             cast(convert_from(decode('69742773202431','hex'),'UTF8') as text), \
             cast(null as float8), cast(-7 as int2))"
        );
        let name = statement.name();
        assert_eq!(
            statement.preparation(),
            format!(
                "prepare {name}(int2,text,float8) as select f($1, $2, $3, $1);execute \
                 {name}(-7,convert_from(decode('69742773202431','hex'),'UTF8'),null)"
            )
        );
    }
}
