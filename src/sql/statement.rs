use sqlx::{
    AssertSqlSafe, PgConnection, PgPool,
    postgres::{PgQueryResult, PgRow},
};
use xxhash_rust::xxh64::xxh64;

use super::value::Value;

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
pub(crate) struct Statement {
    text: &'static str,
    values: Vec<Value>,
}

impl Statement {
    pub(crate) fn new(text: &'static str) -> Self {
        Self { text, values: Vec::new() }
    }

    /// The value of the next `$n`. Up to nine: they are replaced as text.
    pub(crate) fn value(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// The value of the next `$n`, where it is nearly always the same: it stands in the text that is
    /// prepared, and another value makes another text. Each value that is left to the execution is
    /// parsed, coerced and evaluated by every one.
    pub(crate) fn fixed(mut self, value: impl Into<Value>) -> Self {
        self.values.push(Value { fixed: true, ..value.into() });
        self
    }

    pub(crate) async fn execute(&self, pool: &PgPool) -> Result<PgQueryResult, sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(self.plain())).execute(pool).await
    }

    pub(crate) async fn fetch_one(&self, pool: &PgPool) -> Result<PgRow, sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(self.plain())).fetch_one(pool).await
    }

    pub(crate) async fn fetch_all(&self, pool: &PgPool) -> Result<Vec<PgRow>, sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(self.plain())).fetch_all(pool).await
    }

    pub(crate) async fn execute_in(
        &self,
        connection: &mut PgConnection,
    ) -> Result<PgQueryResult, sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(self.plain())).execute(connection).await
    }

    pub(crate) async fn fetch_optional_in(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Option<PgRow>, sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(self.plain())).fetch_optional(connection).await
    }

    pub(crate) async fn fetch_in(
        &self,
        connection: &mut PgConnection,
    ) -> Result<PgRow, sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(self.plain())).fetch_one(connection).await
    }

    pub(crate) async fn fetch_optional(&self, pool: &PgPool) -> Result<Option<PgRow>, sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(self.plain())).fetch_optional(pool).await
    }

    pub(crate) fn plain(&self) -> String {
        let numbered = self.values.iter().enumerate();
        numbered.fold(self.text.to_owned(), |text, (index, value)| {
            text.replace(&format!("${}", index + 1), &value.cast())
        })
    }

    pub(crate) fn execution(&self) -> String {
        let values = self.values.iter().filter(|value| !value.fixed);
        let values: Vec<&str> = values.map(|value| &*value.sql).collect();
        format!("execute {}({})", self.name(), values.join(","))
    }

    pub(crate) fn preparation(&self) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

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
