//! One message that always fails does not hold up the rest: after three attempts it is a dead letter,
//! kept in the database with its reason.
//!
//! `cargo run --example dead_letters` (nothing to install: the database is in memory)

use std::collections::VecDeque;

use sqlx::SqliteConnection;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_inbox::{
    BoxError, Dedup, InboxLayer, Outcome,
    inbox::{DeadLetterPolicy, DeadLettered, Received, SqliteStore},
};

#[derive(Debug, Clone, serde::Serialize, Dedup)]
#[dedup_by(order_id)]
struct OrderPlaced {
    order_id: i64,
    cents: i64,
}

/// Books one order; one that costs less than nothing never works.
async fn book(received: Received<OrderPlaced, SqliteConnection>) -> Result<(), BoxError> {
    let (order, mut tx) = received.into_parts();
    sqlx::query("insert into booking (order_id, cents) values (?, ?)")
        .bind(order.order_id)
        .bind(order.cents)
        .execute(&mut *tx)
        .await?;
    if order.cents < 0 {
        return Err("an order cannot cost less than nothing".into());
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let store = SqliteStore::in_memory().await?;
    store.schema().up().await?;
    let pool = store.pool().clone();
    sqlx::query("create table booking (order_id integer, cents integer)").execute(&pool).await?;

    let layer = InboxLayer::new("billing", store)
        .dead_letters(DeadLetterPolicy::after(3))
        .payload(|order: &OrderPlaced| serde_json::to_vec(order).expect("an order is JSON"));
    let mut inbox = ServiceBuilder::new().layer(layer).service_fn(book);

    // A broker in four lines: what is not acknowledged comes again, after the rest.
    let mut broker: VecDeque<OrderPlaced> = [(1, 250), (2, -1), (3, 100)]
        .map(|(order_id, cents)| OrderPlaced { order_id, cents })
        .into();
    while let Some(order) = broker.pop_front() {
        let id = order.order_id;
        match inbox.ready().await?.call(order.clone()).await {
            Ok(Outcome::Handled(())) => println!("order {id}: booked"),
            Ok(Outcome::Duplicate) => println!("order {id}: a duplicate, acknowledged"),
            Err(error) if error.is::<DeadLettered>() => {
                println!("order {id}: {error}; acknowledged, because the database keeps it");
            }
            Err(error) => {
                println!("order {id}: {error}; not acknowledged");
                broker.push_back(order);
            }
        }
    }

    let (booked, cents): (i64, i64) =
        sqlx::query_as("select count(*), sum(cents) from booking").fetch_one(&pool).await?;
    let (reason, payload): (String, Vec<u8>) =
        sqlx::query_as("select reason, payload from tower_inbox_dead_letter")
            .fetch_one(&pool)
            .await?;
    println!("{booked} orders booked; one dead letter: {reason}");
    assert_eq!((booked, cents), (2, 350));
    assert_eq!(String::from_utf8(payload)?, r#"{"order_id":2,"cents":-1}"#);
    Ok(())
}
