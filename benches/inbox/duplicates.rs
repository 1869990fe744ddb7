use sqlx::{
    PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneService};
use tower_inbox::{
    BoxError, InboxLayer, Outcome,
    hook::BoxFuture,
    inbox::{PgStore, Received},
};
use uuid::Uuid;

use crate::{
    batches::SIZE,
    cell::Variant,
    drive::Worker,
    order::OrderPlaced,
    postgres::{boxed, empty_tables, insert, make_tables, place},
};

/// A way to tell that a message was handled already, when nearly all were.
pub(crate) struct Duplicates {
    way: Way,
    options: PgConnectOptions,
}

#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// `insert … on conflict do nothing`, and a rollback.
    Naive,
    /// The layer.
    Layer,
    /// The layer that looks before it claims.
    ReadFirst,
    /// The same for batches of a hundred.
    ReadFirstBatched,
    /// The layer that remembers what this process committed.
    Remember,
}

pub(crate) const NAIVE: &str = "claim and rollback";
pub(crate) const READ_FIRST: &str = "Inbox, read_first()";
pub(crate) const READ_FIRST_BATCHED: &str = "Inbox, read_first(), batched";
pub(crate) const REMEMBER: &str = "Inbox, remember(10 000)";

pub(crate) const WAYS: [Way; 5] =
    [Way::Naive, Way::Layer, Way::ReadFirst, Way::ReadFirstBatched, Way::Remember];

type Singly = BoxCloneService<OrderPlaced, Outcome<()>, BoxError>;
type Batched = BoxCloneService<Vec<OrderPlaced>, Vec<Result<Outcome<()>, BoxError>>, BoxError>;

impl Duplicates {
    pub(crate) async fn new(way: Way, options: PgConnectOptions) -> Result<Self, BoxError> {
        make_tables(&options).await?;
        Ok(Self { way, options })
    }

    /// Handles every message once, so that whatever the workers deliver is a duplicate.
    async fn make(&self, workers: usize) -> Result<Vec<Box<dyn Worker>>, BoxError> {
        empty_tables(&self.options).await?;
        let size = u32::try_from(workers)?;
        let pool = PgPoolOptions::new()
            .max_connections(size)
            .min_connections(size)
            .test_before_acquire(false)
            .connect_with(self.options.clone())
            .await?;
        let all = 0..workers;
        let layer = InboxLayer::new("orders", PgStore::new(pool.clone()));
        let layer = match self.way {
            Way::Naive | Way::Layer => layer,
            Way::ReadFirst | Way::ReadFirstBatched => layer.read_first(),
            Way::Remember => layer.remember(10_000),
        };
        layer.prepare().await?;
        let service = |layer| {
            let service = ServiceBuilder::new().layer(layer).service(service_fn(place));
            Singly::new(service)
        };
        if let Way::Naive = self.way {
            for number in 0..MESSAGES {
                Naive(pool.clone()).claim(&OrderPlaced::numbered(number)).await?;
            }
            return Ok(all.map(|_| boxed(Naive(pool.clone()))).collect());
        }
        if let Way::ReadFirstBatched = self.way {
            let batched =
                ServiceBuilder::new().layer(layer.batched()).service(service_fn(place_all));
            let mut batched = Batched::new(batched);
            let orders = (0..MESSAGES).map(OrderPlaced::numbered).collect();
            for outcome in batched.ready().await?.call(orders).await? {
                let _ = outcome?;
            }
            return Ok(all.map(|_| boxed(AskingInBatches(batched.clone()))).collect());
        }
        let mut service = service(layer);
        for number in 0..MESSAGES {
            let _ = service.ready().await?.call(OrderPlaced::numbered(number)).await?;
        }
        Ok(all.map(|_| boxed(Asking(service.clone()))).collect())
    }
}

impl Variant for Duplicates {
    fn name(&self) -> &str {
        match self.way {
            Way::Naive => NAIVE,
            Way::Layer => "Inbox",
            Way::ReadFirst => READ_FIRST,
            Way::ReadFirstBatched => READ_FIRST_BATCHED,
            Way::Remember => REMEMBER,
        }
    }

    fn reset(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move { empty_tables(&self.options).await.expect("empty tables") })
    }

    fn workers(&self, workers: usize) -> BoxFuture<'_, Vec<Box<dyn Worker>>> {
        Box::pin(async move { self.make(workers).await.expect("the workers are made") })
    }
}

/// One of the messages that were handled.
fn again(order: &OrderPlaced) -> OrderPlaced {
    OrderPlaced::numbered(order.order_id.cast_unsigned() % MESSAGES)
}

async fn place_all(received: Received<Vec<OrderPlaced>, PgConnection>) -> Result<(), sqlx::Error> {
    let (orders, mut tx) = received.into_parts();
    for order in &orders {
        insert(&mut tx, order).await?;
    }
    Ok(())
}

struct Naive(PgPool);

impl Naive {
    /// Whether the message was new; then it is claimed.
    async fn claim(&self, order: &OrderPlaced) -> Result<bool, BoxError> {
        let mut tx = self.0.begin().await?;
        let claimed = sqlx::query(
            "insert into naive_inbox (key, expires_at, consumer) \
             values ($1, now() + interval '1 day', $2) on conflict do nothing",
        )
        .bind(Uuid::from(order.key()))
        .bind(1_i16)
        .execute(&mut *tx)
        .await?;
        let new = claimed.rows_affected() == 1;
        if new {
            tx.commit().await?
        } else {
            tx.rollback().await?
        }
        Ok(new)
    }
}

impl Worker for Naive {
    fn handle(&mut self, order: OrderPlaced) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            assert!(!self.claim(&again(&order)).await?);
            Ok(())
        })
    }
}

struct Asking(Singly);

impl Worker for Asking {
    fn handle(&mut self, order: OrderPlaced) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            let outcome = self.0.ready().await?.call(again(&order)).await?;
            assert_eq!(outcome, Outcome::Duplicate);
            Ok(())
        })
    }
}

struct AskingInBatches(Batched);

impl Worker for AskingInBatches {
    fn handle(&mut self, order: OrderPlaced) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            let first = order.order_id.cast_unsigned() * SIZE as u64;
            let numbers = (first..).take(SIZE).map(|number| number % MESSAGES);
            let orders = numbers.map(OrderPlaced::numbered).collect();
            for outcome in self.0.ready().await?.call(orders).await? {
                assert_eq!(outcome?, Outcome::Duplicate);
            }
            Ok(())
        })
    }

    fn messages(&self) -> usize {
        SIZE
    }
}

/// How many messages there are; each is delivered again and again.
const MESSAGES: u64 = 2_000;
