use sqlx::PgPool;
use tower_inbox::{BoxError, hook::BoxFuture};

use crate::{
    handler::{Behaviour, TABLES},
    order::OrderPlaced,
    peer::{Peer, Place, Receiver, Told},
};

/// The handler alone: the base of the ratios.
pub(crate) struct Bare;

impl Peer for Bare {
    fn name(&self) -> &'static str {
        "no inbox"
    }

    fn version(&self) -> String {
        "the handler in its own transaction".to_owned()
    }

    fn prepare<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            sqlx::raw_sql(TABLES).execute(&place.pool(1).await?).await?;
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
                .map(|_| Box::new(Handling(pool.clone(), behaviour)) as Box<dyn Receiver>)
                .collect())
        })
    }
}

struct Handling(PgPool, Behaviour);

impl Receiver for Handling {
    fn deliver(&mut self, order: OrderPlaced) -> BoxFuture<'_, Result<Told, BoxError>> {
        Box::pin(async move {
            self.1.handle(&self.0, &order).await?;
            Ok(Told::Handled)
        })
    }
}
