use sqlx::{
    Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_inbox::{
    BoxError, InboxLayer, Outcome,
    hook::BoxFuture,
    inbox::{PgStore, Received},
};
use uuid::Uuid;

use crate::{
    cell::Variant,
    drive::{Calling, Worker},
    order::OrderPlaced,
    postgres::{Held, boxed, empty_tables, make_tables, place},
};

/// A way to handle messages a hundred at a time, or one by one.
pub(crate) struct Batches {
    way: Way,
    options: PgConnectOptions,
}

#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// The handler's transaction around one message, on a connection that the worker keeps.
    BareSingly,
    /// The layer around one message.
    LayerSingly,
    /// The handler's transaction around a hundred.
    Bare,
    /// With a statement more that claims them all.
    ByHand,
    /// The layer for batches.
    Layer,
}

pub(crate) const BARE_SINGLY: &str = "bare, one by one, held connection";
pub(crate) const LAYER: &str = "Inbox, batched";
pub(crate) const BARE: &str = "bare, batches";

pub(crate) const WAYS: [Way; 5] =
    [Way::BareSingly, Way::LayerSingly, Way::Bare, Way::ByHand, Way::Layer];

impl Batches {
    pub(crate) async fn new(way: Way, options: PgConnectOptions) -> Result<Self, BoxError> {
        make_tables(&options).await?;
        Ok(Self { way, options })
    }

    async fn make(&self, workers: usize) -> Result<Vec<Box<dyn Worker>>, BoxError> {
        let mut made: Vec<Box<dyn Worker>> = Vec::new();
        if let Way::BareSingly = self.way {
            for _ in 0..workers {
                made.push(boxed(Held(PgConnection::connect_with(&self.options).await?)));
            }
            return Ok(made);
        }
        let size = u32::try_from(workers)?;
        let pool = PgPoolOptions::new()
            .max_connections(size)
            .min_connections(size)
            .test_before_acquire(false)
            .connect_with(self.options.clone())
            .await?;
        let all = 0..workers;
        match self.way {
            Way::BareSingly => {}
            Way::LayerSingly => {
                let layer = InboxLayer::new("orders", PgStore::new(pool));
                layer.prepare().await?;
                let service = ServiceBuilder::new().layer(layer).service(service_fn(place));
                made.extend(all.map(|_| boxed(Calling(service.clone()))));
            }
            Way::Bare => {
                made.extend(all.map(|_| boxed(Plain { pool: pool.clone(), claims: false })))
            }
            Way::ByHand => {
                made.extend(all.map(|_| boxed(Plain { pool: pool.clone(), claims: true })));
            }
            Way::Layer => {
                let layer = InboxLayer::new("orders", PgStore::new(pool));
                layer.prepare().await?;
                let service =
                    ServiceBuilder::new().layer(layer.batched()).service(service_fn(place_all));
                made.extend(all.map(|_| boxed(CallingWithBatches(service.clone()))));
            }
        }
        Ok(made)
    }
}

impl Variant for Batches {
    fn name(&self) -> &str {
        match self.way {
            Way::BareSingly => BARE_SINGLY,
            Way::LayerSingly => "Inbox, one by one",
            Way::Bare => BARE,
            Way::ByHand => "claim of a batch by hand",
            Way::Layer => LAYER,
        }
    }

    fn reset(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move { empty_tables(&self.options).await.expect("empty tables") })
    }

    fn workers(&self, workers: usize) -> BoxFuture<'_, Vec<Box<dyn Worker>>> {
        Box::pin(async move { self.make(workers).await.expect("the workers are made") })
    }
}

/// The handler of a batch, the same for all variants: one statement inserts all rows.
async fn insert_all(
    connection: &mut PgConnection,
    orders: &[OrderPlaced],
) -> Result<(), sqlx::Error> {
    let ids: Vec<i64> = orders.iter().map(|order| order.order_id).collect();
    let emails: Vec<&str> = orders.iter().map(|order| &*order.email).collect();
    let cents: Vec<i64> = orders.iter().map(|order| order.cents).collect();
    sqlx::query(
        "insert into orders (order_id, email, cents) \
         select * from unnest($1::int8[], $2::text[], $3::int8[])",
    )
    .bind(ids)
    .bind(emails)
    .bind(cents)
    .execute(connection)
    .await?;
    Ok(())
}

async fn place_all(received: Received<Vec<OrderPlaced>, PgConnection>) -> Result<(), sqlx::Error> {
    let (orders, mut tx) = received.into_parts();
    insert_all(&mut tx, &orders).await
}

/// A batch that begins with a message.
pub(crate) fn batch(first: OrderPlaced) -> Vec<OrderPlaced> {
    let rest = (1..SIZE).map(|_| OrderPlaced::next());
    std::iter::once(first).chain(rest).collect()
}

struct Plain {
    pool: PgPool,
    claims: bool,
}

impl Worker for Plain {
    fn handle(&mut self, order: OrderPlaced) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            let orders = batch(order);
            let mut tx = self.pool.begin().await?;
            if self.claims {
                let mut keys: Vec<Uuid> = orders.iter().map(|order| order.key().into()).collect();
                keys.sort_unstable();
                let claimed = sqlx::query(
                    "insert into naive_inbox (key, expires_at, consumer) \
                     select key, now() + interval '1 day', 1 from unnest($1::uuid[]) key \
                     on conflict do nothing",
                )
                .bind(keys)
                .execute(&mut *tx)
                .await?;
                assert_eq!(claimed.rows_affected(), SIZE as u64);
            }
            insert_all(&mut tx, &orders).await?;
            Ok(tx.commit().await?)
        })
    }

    fn messages(&self) -> usize {
        SIZE
    }
}

/// The worker that calls a service with batches, as a consumer does.
struct CallingWithBatches<S>(S);

impl<S> Worker for CallingWithBatches<S>
where
    S: Service<Vec<OrderPlaced>, Response = Vec<Result<Outcome<()>, BoxError>>, Error = BoxError>
        + Send,
    S::Future: Send,
{
    fn handle(&mut self, order: OrderPlaced) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            for outcome in self.0.ready().await?.call(batch(order)).await? {
                assert_eq!(outcome?, Outcome::Handled(()));
            }
            Ok(())
        })
    }

    fn messages(&self) -> usize {
        SIZE
    }
}

/// Messages in a batch.
pub(crate) const SIZE: usize = 100;
