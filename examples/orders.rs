//! Orders arrive from a broker that delivers some of them twice; each is booked once.
//!
//! `cargo run --example orders` (nothing to install: the database is a file in the temporary folder)

use sqlx::SqliteConnection;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_inbox::{
    BoxError, Dedup, InboxLayer, Outcome,
    inbox::{Received, SqliteStore},
};

#[derive(Debug, serde::Deserialize, Dedup)]
#[dedup_by(order_id, email)]
struct OrderPlaced {
    order_id: i64,
    email: String,
    cents: i64,
}

/// Books one order, in the transaction that also holds the claim.
async fn book(received: Received<OrderPlaced, SqliteConnection>) -> Result<i64, BoxError> {
    let (order, mut tx) = received.into_parts();
    if order.cents < 0 {
        return Err("an order cannot cost less than nothing".into());
    }
    sqlx::query("insert into booking (order_id, cents) values (?, ?)")
        .bind(order.order_id)
        .bind(order.cents)
        .execute(&mut *tx)
        .await?;
    Ok(order.cents)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let store = SqliteStore::open(folder.path().join("orders.db")).await?;
    store.schema().up().await?;
    let pool = store.pool().clone();
    sqlx::query("create table booking (order_id integer, cents integer)").execute(&pool).await?;

    let mut inbox = ServiceBuilder::new().layer(InboxLayer::new("billing", store)).service_fn(book);

    for line in DELIVERIES.lines() {
        let order: OrderPlaced = serde_json::from_str(line)?;
        let id = order.order_id;
        match inbox.ready().await?.call(order).await {
            Ok(Outcome::Handled(cents)) => println!("order {id}: booked {cents} cents"),
            Ok(Outcome::Duplicate) => println!("order {id}: a duplicate, acknowledged"),
            Err(error) => println!("order {id}: {error}; not acknowledged"),
        }
    }

    let (orders, cents): (i64, i64) =
        sqlx::query_as("select count(*), sum(cents) from booking").fetch_one(&pool).await?;
    println!("{orders} orders booked, {cents} cents");
    assert_eq!((orders, cents), (2, 350));
    Ok(())
}

const DELIVERIES: &str = r#"{"order_id": 1, "email": "ada@example.com", "cents": 250}
{"order_id": 2, "email": "bob@example.com", "cents": 100}
{"order_id": 1, "email": "ada@example.com", "cents": 250}
{"order_id": 3, "email": "eve@example.com", "cents": -1}
{"order_id": 2, "email": "bob@example.com", "cents": 100}"#;
