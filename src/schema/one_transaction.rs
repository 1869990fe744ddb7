use sqlx::{
    AssertSqlSafe, Connection, PgConnection, Postgres, Row, Transaction,
    migrate::{Migrate, MigrateError, Migration, Migrator},
};

/// Runs the steps that are missing, in one transaction and under a lock that ends with it.
///
/// sqlx's own `run` holds a lock of the session over several transactions and keeps statements
/// prepared. Behind a pooler in transaction mode neither stays with who made it: the lock is left on
/// somebody's session, and the next migration waits for it.
pub(super) async fn up(
    connection: &mut PgConnection,
    migrator: &Migrator,
    schema: &str,
    table: &str,
) -> Result<(), MigrateError> {
    let mut tx = begin(connection).await?;
    tx.create_schema_if_not_exists(schema).await?;
    tx.ensure_migrations_table(table).await?;
    let applied = applied(&mut tx, migrator, table).await?;
    for step in migrator.iter().filter(|step| step.migration_type.is_up_migration()) {
        match applied.iter().find(|(version, _)| *version == step.version) {
            Some((version, checksum)) if checksum[..] != step.checksum[..] => {
                return Err(MigrateError::VersionMismatch(*version));
            }
            Some(_) => {}
            None => {
                run(&mut tx, step).await?;
                // Nobody looks at the time it took, which sqlx's table wants to know.
                let note = format!(
                    "insert into {table} (version, description, success, checksum, execution_time) \
                     values ($1, $2, true, $3, -1)"
                );
                sqlx::query(AssertSqlSafe(note))
                    .persistent(false)
                    .bind(step.version)
                    .bind(&*step.description)
                    .bind(&*step.checksum)
                    .execute(&mut *tx)
                    .await?;
            }
        }
    }
    Ok(tx.commit().await?)
}

/// Takes back the steps above a version, and below the first one the table of versions and the schema
/// as well.
pub(super) async fn down(
    connection: &mut PgConnection,
    migrator: &Migrator,
    schema: &str,
    table: &str,
    to: i64,
) -> Result<(), MigrateError> {
    let mut tx = begin(connection).await?;
    let there = format!("select to_regclass('{table}') is not null");
    let there: bool = sqlx::raw_sql(AssertSqlSafe(there)).fetch_one(&mut *tx).await?.try_get(0)?;
    if !there {
        return Ok(());
    }
    let applied = applied(&mut tx, migrator, table).await?;
    let steps = migrator.iter().rev().filter(|step| step.migration_type.is_down_migration());
    for step in steps.filter(|step| step.version > to) {
        if applied.iter().any(|(version, _)| *version == step.version) {
            run(&mut tx, step).await?;
            let note = format!("delete from {table} where version = {}", step.version);
            sqlx::raw_sql(AssertSqlSafe(note)).execute(&mut *tx).await?;
        }
    }
    if to == 0 {
        let rest = format!("drop table {table};drop schema {schema}");
        sqlx::raw_sql(AssertSqlSafe(rest)).execute(&mut *tx).await?;
    }
    Ok(tx.commit().await?)
}

/// Begins and waits for its turn.
async fn begin(connection: &mut PgConnection) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
    // Under another level the snapshot would be older than the end of the wait.
    let mut tx = connection.begin_with("begin isolation level read committed").await?;
    // A session that looked for our schema before remembers that there was none. Opening a table,
    // unlike waiting for an advisory lock, makes it hear of what was committed in the meantime.
    let turn = format!(
        "select pg_advisory_xact_lock({LOCK_ID});select from pg_catalog.pg_namespace limit 0"
    );
    sqlx::raw_sql(AssertSqlSafe(turn)).execute(&mut *tx).await?;
    Ok(tx)
}

/// The versions that the table names, with the checksums of what made them.
async fn applied(
    tx: &mut Transaction<'_, Postgres>,
    migrator: &Migrator,
    table: &str,
) -> Result<Vec<(i64, Vec<u8>)>, MigrateError> {
    let sql = format!("select version, checksum, success from {table} order by version");
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut **tx).await?;
    rows.iter()
        .map(|row| {
            let version = row.try_get(0)?;
            if !row.try_get(2)? {
                Err(MigrateError::Dirty(version))
            } else if !migrator.version_exists(version) {
                Err(MigrateError::VersionMissing(version))
            } else {
                Ok((version, row.try_get(1)?))
            }
        })
        .collect()
}

async fn run(tx: &mut Transaction<'_, Postgres>, step: &Migration) -> Result<(), MigrateError> {
    sqlx::raw_sql(step.sql.clone())
        .execute(&mut **tx)
        .await
        .map(drop)
        .map_err(|error| MigrateError::ExecuteMigration(error, step.version))
}

// "inbox-up" as a number.
const LOCK_ID: i64 = 0x696e_626f_782d_7570;
