use sqlx::PgPool;
use tower_inbox::{BoxError, hook::BoxFuture};
use uuid::Uuid;

use crate::{
    handler::{Behaviour, TABLES},
    order::OrderPlaced,
    peer::{Peer, Place, Receiver, Told},
};

/// What most people write: look whether the message was seen, handle it, write down that it was.
pub(crate) struct ByHand;

impl Peer for ByHand {
    fn name(&self) -> &'static str {
        "`select`, handler, `insert` by hand"
    }

    fn version(&self) -> String {
        "in one transaction with the handler's row".to_owned()
    }

    fn prepare<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            let pool = place.pool(1).await?;
            sqlx::raw_sql(TABLES).execute(&pool).await?;
            sqlx::raw_sql(
                "create table seen (
                    consumer int2 not null,
                    key uuid not null,
                    seen_at timestamptz not null default now(),
                    primary key (consumer, key)
                )",
            )
            .execute(&pool)
            .await?;
            Ok(())
        })
    }

    fn open<'a>(
        &'a self,
        place: &'a Place,
        behaviour: Behaviour,
    ) -> BoxFuture<'a, Result<Vec<Box<dyn Receiver>>, BoxError>> {
        Box::pin(async move {
            let pool = place.pool(behaviour.workers).await?;
            Ok((0..behaviour.workers)
                .map(|_| Box::new(Looking(pool.clone(), behaviour)) as Box<dyn Receiver>)
                .collect())
        })
    }
}

struct Looking(PgPool, Behaviour);

impl Receiver for Looking {
    fn deliver(&mut self, order: OrderPlaced) -> BoxFuture<'_, Result<Told, BoxError>> {
        Box::pin(async move {
            let key = Uuid::from(order.key());
            let mut tx = self.0.begin().await?;
            let seen = sqlx::query("select 1 from seen where consumer = $1 and key = $2")
                .bind(CONSUMER)
                .bind(key)
                .fetch_optional(&mut *tx)
                .await?;
            if seen.is_some() {
                tx.rollback().await?;
                return Ok(Told::Duplicate);
            }
            self.1.handle_in(&mut tx, &order).await?;
            let marked = sqlx::query("insert into seen (consumer, key) values ($1, $2)")
                .bind(CONSUMER)
                .bind(key)
                .execute(&mut *tx)
                .await;
            match marked {
                Ok(_) => {}
                Err(error) if error.as_database_error().is_some() => {
                    return Ok(Told::Refused("an error".to_owned()));
                }
                Err(error) => return Err(error.into()),
            }
            tx.commit().await?;
            Ok(Told::Handled)
        })
    }
}

const CONSUMER: i16 = 1;
