use std::sync::atomic::Ordering;

use sqlx::{
    AssertSqlSafe, Connection, Postgres, Row,
    pool::PoolConnection,
    postgres::{PgRow, PgValueRef},
};

use super::{
    PgBackend,
    error::{asking, connecting, is_left_open, lost_a_race, no_answer},
};
use crate::{events::backend::BackendError, sql::Statement};

impl PgBackend {
    /// Sends a statement as one message and waits for all of its answer, the commit included: rows may
    /// come before that. Again if it took no effect because another transaction was faster.
    pub(super) async fn ask(&self, statement: &Statement) -> Result<Vec<PgRow>, BackendError> {
        let text = statement.plain();
        let mut tries = 0;
        loop {
            tries += 1;
            self.state.written.fetch_add(text.len() as u64, Ordering::Relaxed);
            let mut session = Session::of(self.pool.acquire().await.map_err(connecting)?);
            let asked =
                sqlx::raw_sql(AssertSqlSafe(text.clone())).fetch_all(&mut *session.connection);
            let error = match tokio::time::timeout(self.patience, asked).await {
                Ok(Ok(rows)) => {
                    session.at_rest = true;
                    let read = rows.iter().map(bytes).sum::<usize>() as u64;
                    self.state.read.fetch_add(read, Ordering::Relaxed);
                    return Ok(rows);
                }
                Ok(Err(error)) => error,
                Err(_) => return Err(no_answer(self.patience)),
            };
            // A transaction that somebody left open in the session is not ours to mend: the session is
            // closed.
            if !is_left_open(&error) {
                session.come_to_rest(&error).await;
                if !lost_a_race(&error) {
                    return Err(asking(error));
                }
            }
            if tries == MAX_TRIES {
                return Err(asking(error));
            }
        }
    }
}

/// A connection that is closed when it is dropped with a question under way: the pool would ask another
/// one behind it.
struct Session {
    connection: PoolConnection<Postgres>,
    at_rest: bool,
}

impl Session {
    fn of(connection: PoolConnection<Postgres>) -> Self {
        Self { connection, at_rest: false }
    }

    /// Waits until the session is ready again after the database has refused something. Whatever is
    /// sent before that is a second query under way; see `inbox/store/sql_tx.rs`.
    async fn come_to_rest(&mut self, error: &sqlx::Error) {
        if matches!(error, sqlx::Error::Database(_)) {
            self.at_rest = self.connection.flush().await.is_ok();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.at_rest {
            self.connection.close_on_drop();
        }
    }
}

fn bytes(row: &PgRow) -> usize {
    let size = |value: PgValueRef<'_>| value.as_bytes().map_or(0, <[u8]>::len);
    (0..row.len()).filter_map(|at| row.try_get_raw(at).ok()).map(size).sum()
}

// Races are rare, and whoever asks tries again after a while.
const MAX_TRIES: u32 = 4;
