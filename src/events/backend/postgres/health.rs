use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sqlx::{Row, postgres::PgRow};

use super::{
    PgBackend,
    error::{asking, nonsense},
};
use crate::{
    events::backend::{BackendError, Health},
    sql::Statement,
};

pub(super) async fn health(backend: &PgBackend) -> Result<Health, BackendError> {
    backend.prepare().await?;
    let (began, asked_at) = (Instant::now(), now_ms());
    let rows = backend.ask(&Statement::new(include_str!("sql/health.sql"))).await?;
    let mut health = Health::new(began.elapsed());
    let row = rows.first().ok_or_else(|| nonsense("nothing"))?;
    let Found { version, read_only, clock_ms, rows } = read(row).map_err(asking)?;

    if read_only {
        let text = "the server takes no writes: it is a replica, or its sessions are read-only; \
                    connect to the primary";
        health.problems.push(text.to_owned());
    }
    let ours = asked_at + i64::try_from(health.ping.as_millis() / 2).unwrap_or(0);
    let mut fact = |name: &str, text: String| health.facts.insert(name.to_owned(), text);
    fact("version", version);
    fact("namespace", backend.namespace.to_string());
    fact("clock_difference", format!("{}ms", clock_ms - ours));
    // An estimate of autovacuum's, of all namespaces; below zero where it was not there yet.
    fact("rows", if rows < 0 { "not known yet".to_owned() } else { format!("about {rows}") });
    fact("connections", backend.pool.options().get_max_connections().to_string());
    Ok(health)
}

struct Found {
    version: String,
    read_only: bool,
    clock_ms: i64,
    rows: i64,
}

fn read(row: &PgRow) -> Result<Found, sqlx::Error> {
    Ok(Found {
        version: row.try_get(0)?,
        read_only: row.try_get(1)?,
        clock_ms: row.try_get(2)?,
        rows: row.try_get(3)?,
    })
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
