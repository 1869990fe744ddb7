use std::{process, time::Duration};

use sqlx::{PgConnection, PgPool};
use tokio::time::sleep;
use tower_inbox::BoxError;

use crate::order::OrderPlaced;

/// What the handler does besides inserting its row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Behaviour {
    pub(crate) workers: usize,
    /// Counts its runs where no rollback takes them back.
    pub(crate) counts: bool,
    /// Ignores the error of a statement the first time it runs.
    pub(crate) swallows: bool,
    /// Works on for so long after its insert.
    pub(crate) pause: Duration,
    /// Takes the process with it, as its last deed.
    pub(crate) dies: bool,
}

impl Behaviour {
    pub(crate) fn plain(workers: usize) -> Self {
        Self { workers, counts: false, swallows: false, pause: Duration::ZERO, dies: false }
    }

    pub(crate) fn counted() -> Self {
        Self { counts: true, ..Self::plain(1) }
    }

    /// The handler in a transaction that somebody else commits.
    pub(crate) async fn handle_in(
        self,
        connection: &mut PgConnection,
        order: &OrderPlaced,
    ) -> Result<(), BoxError> {
        self.write(connection, order).await?;
        self.linger().await;
        Ok(())
    }

    /// The handler with a transaction of its own.
    pub(crate) async fn handle(self, pool: &PgPool, order: &OrderPlaced) -> Result<(), BoxError> {
        let mut tx = pool.begin().await?;
        self.write(&mut tx, order).await?;
        tx.commit().await?;
        self.linger().await;
        Ok(())
    }

    async fn write(
        self,
        connection: &mut PgConnection,
        order: &OrderPlaced,
    ) -> Result<(), BoxError> {
        sqlx::query("insert into orders (order_id, email, cents) values ($1, $2, $3)")
            .bind(order.order_id)
            .bind(&order.email)
            .bind(order.cents)
            .execute(&mut *connection)
            .await?;
        if self.counts {
            let run: i64 =
                sqlx::query_scalar("select nextval('runs')").fetch_one(&mut *connection).await?;
            if self.swallows && run == 1 {
                let _ = sqlx::query("select 1 / 0").execute(connection).await;
            }
        }
        Ok(())
    }

    async fn linger(self) {
        if !self.pause.is_zero() {
            sleep(self.pause).await;
        }
        if self.dies {
            process::abort();
        }
    }
}

/// What the handler needs, with a sequence that counts its runs.
pub(crate) const TABLES: &str = "
create table orders (
    order_id int8 not null,
    email text not null,
    cents int8 not null
);
create sequence runs;
";
