use sqlx::{
    SqlSafeStr,
    migrate::{Migration, MigrationType},
};
use tower_inbox::schema::Step;

use crate::database::Scheme;

/// The SQL that does what `migrate` does, for another tool to run, notes of the versions included.
pub(super) fn script(scheme: &Scheme, down: Option<u32>) -> String {
    let (steps, dialect) = match scheme {
        #[cfg(feature = "sqlite")]
        Scheme::Sqlite(_) => (tower_inbox::schema::SqliteSchema::STEPS, &SQLITE),
        #[cfg(feature = "postgres")]
        Scheme::Postgres(_) => (tower_inbox::schema::PgSchema::STEPS, &POSTGRES),
    };
    let body = match down {
        None => dialect.up(steps),
        Some(version) => dialect.down(steps, version.into()),
    };
    format!("begin;\n\n{body}\ncommit;\n")
}

/// Where a database differs from the other, outside the steps.
struct Dialect {
    begin: &'static str,
    /// As sqlx keeps it.
    table: &'static str,
    columns: &'static str,
    bytes: (&'static str, &'static str),
    end: &'static str,
}

impl Dialect {
    fn up(&self, steps: &[Step]) -> String {
        let Self { begin, table, columns, bytes: (open, close), .. } = self;
        let mut script = format!("{begin}create table if not exists {table} (\n{columns}\n);\n\n");
        for Step { version, description, up, .. } in steps {
            let checksum = checksum(*version, description, up);
            script += &format!(
                "-- version {version}: {description}\n\n{up}\n\
                 insert into {table} (version, description, success, checksum, execution_time)\n\
                 values ({version}, '{description}', true, {open}{checksum}{close}, 0);\n\n"
            );
        }
        script
    }

    fn down(&self, steps: &[Step], target: i64) -> String {
        let Self { table, end, .. } = self;
        let mut script = String::new();
        for Step { version, description, down, .. } in steps.iter().rev() {
            if *version > target {
                script += &format!(
                    "-- version {version}: {description}\n\n{down}\n\
                     delete from {table} where version = {version};\n\n"
                );
            }
        }
        if target == 0 {
            script += end;
        }
        script
    }
}

/// As sqlx notes it, so that the library's own migrations go on from here.
fn checksum(version: i64, description: &'static str, up: &'static str) -> String {
    let up = up.into_sql_str();
    let kind = MigrationType::ReversibleUp;
    let migration = Migration::new(version, description.into(), kind, up, false);
    migration.checksum.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(feature = "sqlite")]
const SQLITE: Dialect = Dialect {
    begin: "",
    table: "tower_inbox_migrations",
    columns: "    version bigint primary key,
    description text not null,
    installed_on timestamp not null default current_timestamp,
    success boolean not null,
    checksum blob not null,
    execution_time bigint not null",
    bytes: ("x'", "'"),
    end: "drop table tower_inbox_migrations;\n",
};

#[cfg(feature = "postgres")]
const POSTGRES: Dialect = Dialect {
    begin: "create schema if not exists tower_inbox;\n\n",
    table: "tower_inbox.migrations",
    columns: "    version bigint primary key,
    description text not null,
    installed_on timestamptz not null default now(),
    success boolean not null,
    checksum bytea not null,
    execution_time bigint not null",
    bytes: ("'\\x", "'"),
    end: "drop table tower_inbox.migrations;\ndrop schema tower_inbox;\n",
};
