use sqlx::Row;
use uuid::Uuid;

use super::{PgBackend, error::asking};
use crate::{
    events::{EventsErrorKind, backend::BackendError},
    sql::Statement,
};

/// Gives the namespace another number, with which everything is forgotten, and then removes what is left
/// under the old one bit by bit.
pub(super) async fn clear(backend: &PgBackend) -> Result<(), BackendError> {
    for _ in 0..MAX_TRIES {
        let space = backend.space().await?;
        let renumber = Statement::new(include_str!("sql/renumber.sql"))
            .value(space.id)
            .value(Some(&space.secret.as_bytes()[..]));
        let renumbered = !backend.ask(&renumber).await?.is_empty();
        backend.forget_space(space);
        if renumbered {
            return remove(backend, space.id).await;
        }
        // Another process has cleared it, before or now; what was marked since is forgotten by us.
    }
    Err(BackendError::new(EventsErrorKind::Busy, "the namespace is cleared all the time"))
}

/// Nobody waits for these rows, and nobody adds any, but for those who asked before the number changed;
/// what they leave is swept.
async fn remove(backend: &PgBackend, namespace: i32) -> Result<(), BackendError> {
    let mut last: Option<Uuid> = None;
    loop {
        let remove = Statement::new(include_str!("sql/remove.sql"))
            .value(namespace)
            .value(last)
            .value(BATCH);
        let rows = backend.ask(&remove).await?;
        last = match rows.first() {
            Some(row) => row.try_get(0).map_err(asking)?,
            None => None,
        };
        if last.is_none() {
            return Ok(());
        }
    }
}

// Some 10 ms.
const BATCH: i64 = 2_000;
const MAX_TRIES: u32 = 5;
