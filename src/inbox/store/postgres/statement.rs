use sqlx::{
    AssertSqlSafe, PgConnection, PgPool,
    postgres::{PgQueryResult, PgRow},
};
use xxhash_rust::xxh64::xxh64;

use super::{
    PgStore,
    claim::MAX_TRIES,
    error::{DEADLOCK, NO_SUCH_PREPARED, PREPARED_EXISTS, SERIALIZATION_FAILURE},
};
use crate::key::InboxKey;

/// A statement with its values, for use outside of a transaction.
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
                _ if lost_a_race(&error) && tries < MAX_TRIES => {}
                _ => return Err(error),
            }
        }
    }

    fn plain(&self) -> String {
        let numbered = self.values.iter().enumerate();
        numbered.fold(self.text.to_owned(), |text, (index, Value { sql, kind })| {
            text.replace(&format!("${}", index + 1), &format!("cast({sql} as {kind})"))
        })
    }

    fn execution(&self) -> String {
        let values: Vec<&str> = self.values.iter().map(|value| &*value.sql).collect();
        format!("execute {}({})", self.name(), values.join(","))
    }

    fn preparation(&self) -> String {
        let kinds: Vec<&str> = self.values.iter().map(|value| value.kind).collect();
        let (name, text) = (self.name(), self.text);
        format!("prepare {name}({}) as {text};{}", kinds.join(","), self.execution())
    }

    /// Named after its text, so that two releases behind one pooler never execute each other's.
    fn name(&self) -> String {
        format!("tower_inbox_{:016x}", xxh64(self.text.as_bytes(), 0))
    }
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
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self { sql: yes.to_string(), kind: "boolean" }
    }
}

impl From<i16> for Value {
    fn from(number: i16) -> Self {
        Self { sql: number.to_string(), kind: "int2" }
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self { sql: number.to_string(), kind: "int4" }
    }
}

impl From<Option<i32>> for Value {
    fn from(number: Option<i32>) -> Self {
        Self { sql: number.map_or("null".into(), |number| number.to_string()), kind: "int4" }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self { sql: number.to_string(), kind: "int8" }
    }
}

impl From<InboxKey> for Value {
    fn from(key: InboxKey) -> Self {
        Self { sql: format!("'{key}'"), kind: "uuid" }
    }
}

impl From<Option<InboxKey>> for Value {
    fn from(key: Option<InboxKey>) -> Self {
        key.map_or_else(|| Self { sql: "null".into(), kind: "uuid" }, Self::from)
    }
}

impl From<Option<f64>> for Value {
    fn from(number: Option<f64>) -> Self {
        Self { sql: number.map_or("null".into(), |number| number.to_string()), kind: "float8" }
    }
}

impl From<&str> for Value {
    /// Hexadecimal, so that no setting of the session changes what a quote or a backslash means.
    fn from(text: &str) -> Self {
        let hex = hex(text.as_bytes());
        Self { sql: format!("convert_from(decode('{hex}','hex'),'UTF8')"), kind: "text" }
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        text.map_or_else(|| Self { sql: "null".into(), kind: "text" }, Self::from)
    }
}

impl From<Option<&[u8]>> for Value {
    fn from(bytes: Option<&[u8]>) -> Self {
        let sql = bytes.map_or("null".into(), |bytes| format!("decode('{}','hex')", hex(bytes)));
        Self { sql, kind: "bytea" }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let digit = |half: u8| char::from_digit(half.into(), 16).expect("half a byte is a digit");
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
