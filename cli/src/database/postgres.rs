use std::time::Duration;

use sqlx::{
    AssertSqlSafe, Connection, PgConnection, Row,
    postgres::{PgConnectOptions, PgPoolOptions},
    types::Uuid,
};
use tokio::time::timeout;
use tower_inbox::{
    error::StoreError,
    inbox::{PgStore, retention::Sweeper},
    key::InboxKey,
};

use super::{
    Backend, Insert, Location, TableName, Use,
    table::{Column, misfit},
};
use crate::error::Failure;

pub(super) async fn open(
    options: &PgConnectOptions,
    location: &Location,
    purpose: Use,
) -> Result<PgStore, Failure> {
    let failed = || {
        Failure::stopped(format!("could not connect to {location}")).advice(
            "check that the server runs and listens there, and that user, password and database \
             name are right; then run the same command again",
        )
    };
    let mut options = options.clone();
    if options.get_application_name().is_none() {
        options = options.application_name("tower-inbox");
    }
    // The pool would try again and again and then only say that it waited for too long.
    match timeout(PATIENCE, PgConnection::connect_with(&options)).await {
        Ok(Ok(connection)) => {
            connection.close().await.ok();
        }
        Ok(Err(error @ sqlx::Error::Tls(_))) if !cfg!(feature = "tls") => {
            return Err(failed().because(error).advice(
                "this tower-inbox was built without TLS; install one with it: \
                 cargo install tower-inbox-cli --features tls",
            ));
        }
        Ok(Err(error)) => return Err(failed().because(error)),
        Err(_) => {
            return Err(failed().because(format!("no answer within {} s", PATIENCE.as_secs())));
        }
    }
    let pool = PgPoolOptions::new()
        .max_connections(purpose.connections)
        .acquire_timeout(PATIENCE)
        // A connection that died stops the run, which is then started again; asking before each
        // message would cost a round trip.
        .test_before_acquire(false)
        .connect_lazy_with(options);
    Ok(PgStore::new(pool))
}

impl Backend for PgStore {
    const MIGRATES_UNASKED: bool = false;

    fn sweeper(&self) -> Sweeper<Self> {
        Self::sweeper(self)
    }

    async fn version(&self) -> Result<Option<i64>, StoreError> {
        self.schema().version().await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.schema().check().await
    }

    async fn up(&self) -> Result<(), StoreError> {
        self.schema().up().await
    }

    async fn down(&self, version: i64) -> Result<(), StoreError> {
        self.schema().down(version).await
    }

    async fn prepare_table(&self, table: &TableName) -> Result<Insert, Failure> {
        let quoted = table.quoted();
        let failed = |error| {
            Failure::from(PgStore::classify(error, &format!("could not look at the table {table}")))
        };
        let look = || {
            sqlx::query_scalar::<_, String>(include_str!("sql/postgres/table.sql"))
                .bind(&quoted)
                .fetch_optional(self.pool())
        };
        let mut kind = look().await.map_err(failed)?;
        if kind.is_none() {
            let create = include_str!("sql/postgres/create_table.sql").replace("{table}", &quoted);
            // Only the name is formatted, and it is quoted.
            let made = sqlx::raw_sql(AssertSqlSafe(create)).execute(self.pool()).await;
            kind = look().await.map_err(failed)?;
            if let (None, Err(error)) = (&kind, made) {
                // With one there, another run was faster: `if not exists` does not wait for it.
                return Err(
                    PgStore::classify(error, &format!("could not make the table {table}")).into()
                );
            }
        }
        let columns = sqlx::query(include_str!("sql/postgres/columns.sql"))
            .bind(&quoted)
            .fetch_all(self.pool())
            .await
            .and_then(|rows| {
                rows.iter()
                    .map(|row| {
                        Ok(Column {
                            name: row.try_get(0)?,
                            kind: row.try_get(1)?,
                            fills_itself: row.try_get(2)?,
                        })
                    })
                    .collect::<Result<Vec<_>, _>>()
            })
            .map_err(failed)?;
        let misfit = match kind.as_deref() {
            // An ordinary and a partitioned table.
            Some("r" | "p") => misfit(&columns, &[("inbox_key", "uuid"), ("message", "json")]),
            _ => Some("it is no table".into()),
        };
        if let Some(misfit) = misfit {
            return Err(table.unfit(&misfit));
        }
        Ok(include_str!("sql/postgres/insert.sql").replace("{table}", &quoted).into())
    }

    async fn insert(
        connection: &mut PgConnection,
        insert: &Insert,
        key: InboxKey,
        message: &str,
    ) -> Result<(), sqlx::Error> {
        // Only the table's name was formatted into it, quoted.
        sqlx::query(AssertSqlSafe(Insert::clone(insert)))
            .bind(Uuid::from(key))
            .bind(message)
            .execute(connection)
            .await
            .map(drop)
    }

    fn concerns_message(error: &sqlx::Error) -> bool {
        let code = error.as_database_error().and_then(|error| error.code());
        // data exceptions, and integrity constraints
        code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
    }

    fn error(error: sqlx::Error, context: &str) -> StoreError {
        PgStore::classify(error, context)
    }

    async fn close(&self) {
        self.pool().close().await;
    }
}

// Above what a busy server needs, below what people wait for.
const PATIENCE: Duration = Duration::from_secs(10);
