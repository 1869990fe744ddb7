//! A topic is polled in batches, and some messages come twice: after the batch before was not
//! acknowledged, within one batch, and one that cannot be booked. Each order is booked once, and the
//! offset moves past what is done.
//!
//! `cargo run --example batch` (nothing to install: the database is a file in the temporary folder)

use sqlx::{QueryBuilder, SqliteConnection};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_inbox::{
    BoxError, Dedup, InboxLayer, Outcome,
    inbox::{Received, SqliteStore},
};

#[derive(Debug, Clone, Dedup)]
#[dedup_by(order_id)]
struct OrderPlaced {
    order_id: i64,
    cents: i64,
}

/// Books the orders that are new with one statement, in the transaction that also holds their claims.
async fn book(received: Received<Vec<OrderPlaced>, SqliteConnection>) -> Result<(), BoxError> {
    let (orders, mut tx) = received.into_parts();
    println!("    booking {:?}", orders.iter().map(|order| order.order_id).collect::<Vec<_>>());
    if let Some(order) = orders.iter().find(|order| order.cents < 0) {
        return Err(format!("order {} costs less than nothing", order.order_id).into());
    }
    QueryBuilder::new("insert into booking (order_id, cents) ")
        .push_values(&orders, |mut row, order| {
            row.push_bind(order.order_id).push_bind(order.cents);
        })
        .build()
        .execute(&mut *tx)
        .await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let store = SqliteStore::open(folder.path().join("orders.db")).await?;
    store.schema().up().await?;
    let pool = store.pool().clone();
    sqlx::query("create table booking (order_id integer, cents integer)").execute(&pool).await?;

    let mut inbox =
        ServiceBuilder::new().layer(InboxLayer::new("billing", store).batched()).service_fn(book);

    let mut topic = Topic::new();
    let mut polls = 0;
    while let Some((offset, batch)) = topic.poll(4) {
        println!("offset {offset}: {} orders", batch.len());
        let ids: Vec<i64> = batch.iter().map(|order| order.order_id).collect();
        let outcomes = inbox.ready().await?.call(batch).await?;
        for (id, outcome) in ids.into_iter().zip(&outcomes) {
            match outcome {
                Ok(Outcome::Handled(())) => println!("    order {id}: booked"),
                Ok(Outcome::Duplicate) => println!("    order {id}: a duplicate"),
                Err(error) => println!("    order {id}: {error}"),
            }
        }
        // An offset says "everything before this is done", so it stops at the first error. What was
        // handled behind it comes again, and is a duplicate then.
        let mut done = outcomes.iter().take_while(|outcome| outcome.is_ok()).count();
        polls += 1;
        if done == 0 {
            println!("    stuck at a message that keeps failing; it goes to whoever mends orders");
            done = 1;
        }
        // The acknowledgement of the first batch gets lost.
        if polls != 1 {
            topic.commit(offset + done);
        }
    }

    let (orders, cents): (i64, i64) =
        sqlx::query_as("select count(*), sum(cents) from booking").fetch_one(&pool).await?;
    println!("{orders} orders booked, {cents} cents");
    assert_eq!((orders, cents), (7, 2800));
    Ok(())
}

/// Stands for a partition of a topic: messages in an order, and the offset of a consumer.
struct Topic {
    orders: Vec<OrderPlaced>,
    offset: usize,
}

impl Topic {
    fn new() -> Self {
        let order = |(order_id, cents)| OrderPlaced { order_id, cents };
        let orders = [
            (1, 100),
            (2, 200),
            (3, 300),
            (2, 200),
            (4, 400),
            (5, 500),
            (6, -600),
            (7, 600),
            (8, 700),
        ];
        Self { orders: orders.map(order).to_vec(), offset: 0 }
    }

    /// The next messages, again and again until they are acknowledged.
    fn poll(&self, at_most: usize) -> Option<(usize, Vec<OrderPlaced>)> {
        let batch: Vec<_> = self.orders[self.offset..].iter().take(at_most).cloned().collect();
        (!batch.is_empty()).then_some((self.offset, batch))
    }

    fn commit(&mut self, offset: usize) {
        self.offset = offset;
    }
}
