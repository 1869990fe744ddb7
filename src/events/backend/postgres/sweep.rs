use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::Row;
use uuid::Uuid;

use super::{
    PgBackend,
    error::{asking, nonsense},
};
use crate::{events::backend::BackendError, sql::Statement};

/// When to sweep along the way, and where.
pub(super) struct Sweeping {
    events: AtomicU64,
    page: AtomicU64,
}

impl Sweeping {
    /// Whether it is time, and the page to begin with.
    fn is_due(&self, events: usize) -> Option<u64> {
        let before = self.events.fetch_add(events as u64, Ordering::Relaxed);
        let due = before / EVERY != (before + events as u64) / EVERY;
        due.then(|| self.page.fetch_add(PAGES, Ordering::Relaxed))
    }
}

impl Default for Sweeping {
    /// At a random place, so that processes that live for a few events only take their part, and those
    /// that start together do not look at the same pages.
    fn default() -> Self {
        let (events, page) = Uuid::new_v4().as_u64_pair();
        Self { events: (events % EVERY).into(), page: (page % u64::from(u32::MAX)).into() }
    }
}

impl PgBackend {
    /// Removes what is over, in every namespace: forgotten events, claims that ran out, and what was
    /// cleared. Returns how many rows it removed. Needed for a table that is not written to any more,
    /// and with PostgreSQL 13; elsewhere it happens along the way.
    ///
    /// Goes through the table in bits, and waits for nobody.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or the tables are not there. What was removed by then is.
    ///
    /// # Cancellation
    ///
    /// What was removed by then is.
    pub async fn sweep(&self) -> Result<u64, BackendError> {
        let (mut removed, mut page, mut pages) = (0, 0, 1);
        while page < pages {
            let step = self.sweep_pages(page).await?;
            removed += step.removed;
            (page, pages) = (page + PAGES, step.pages);
        }
        Ok(removed)
    }

    /// Sweeps a bit when it is time. Done before the call's own work, whose answer would be lost if the
    /// caller gave up in between. What fails here comes again, and is no reason to fail the call.
    pub(super) async fn sweep_along(&self, events: usize) {
        let Some(page) = self.state.sweeping.is_due(events) else { return };
        match self.sweep_somewhere(page).await {
            Ok(removed) => tracing::trace!(removed, "swept along"),
            Err(error) => tracing::debug!(%error, "could not sweep along"),
        }
    }

    async fn sweep_somewhere(&self, page: u64) -> Result<u64, BackendError> {
        if self.space().await?.server_version < RANGES {
            return Ok(0);
        }
        Ok(self.sweep_pages(page).await?.removed)
    }

    /// Pages beyond the last are counted on from the first.
    async fn sweep_pages(&self, page: u64) -> Result<Step, BackendError> {
        let sweep = Statement::new(include_str!("sql/sweep.sql"))
            .value(page.cast_signed())
            .value(PAGES.cast_signed());
        let rows = self.ask(&sweep).await?;
        let row = rows.first().ok_or_else(|| nonsense("nothing"))?;
        let number = |at| row.try_get::<i64, _>(at).map(i64::cast_unsigned).map_err(asking);
        Ok(Step { removed: number(0)?, pages: number(1)? })
    }
}

struct Step {
    removed: u64,
    pages: u64,
}

/// Half a megabyte, and at most some nine thousand rows.
const PAGES: u64 = 64;
/// Less than half of what fits these pages: while the whole table is gone through once, fewer rows are
/// added than there are.
const EVERY: u64 = 4_096;
/// Since PostgreSQL 14 a range of pages is read by itself.
const RANGES: i32 = 140_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_so_many_events_the_next_pages_are_due() {
        let sweeping = Sweeping { events: 0.into(), page: 7.into() };
        let due: Vec<_> = (0..90).filter_map(|_| sweeping.is_due(100)).collect();
        assert_eq!(due, [7, 7 + PAGES]);
        assert_eq!(sweeping.is_due(1_000_000), Some(7 + 2 * PAGES));
    }
}
