use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use sqlx::{PgConnection, postgres::PgPoolOptions};
use tower_inbox::{
    BoxError, InboxLayer,
    inbox::{PgStore, Received},
};

use crate::{OrderPlaced, setting};

/// So many messages are handled at the same time by each process.
pub const CONCURRENCY: usize = 8;

/// Connects to the database, prepares it, and makes the layer that goes before [`book`].
///
/// # Errors
///
/// When the database cannot be reached or prepared.
pub async fn billing() -> Result<InboxLayer<PgStore>, BoxError> {
    let url = setting("DATABASE_URL", "postgres://postgres@localhost/postgres".to_owned())?;
    // One connection for each message that is handled at the same time, and some for the rest.
    let pool = PgPoolOptions::new()
        .max_connections(u32::try_from(CONCURRENCY)? + 4)
        .test_before_acquire(false)
        .connect(&url)
        .await?;
    sqlx::raw_sql(CREATE_BOOKING).execute(&pool).await?;

    let store = PgStore::new(pool);
    store.schema().up().await?;
    tokio::spawn(store.sweeper().run(std::future::pending()));

    // Longer than anything in these examples redelivers, a weekend in a dead-letter queue included.
    let layer = InboxLayer::new("billing", store).window(Duration::from_secs(7 * 24 * 3600));
    layer.prepare().await?;
    Ok(layer)
}

/// Books one order, in the transaction that also holds the claim.
///
/// # Errors
///
/// Of the database, or of the card. Whatever was written until then is rolled back.
pub async fn book(received: Received<OrderPlaced, PgConnection>) -> Result<(), BoxError> {
    let (order, mut tx) = received.into_parts();
    sqlx::query("insert into booking (order_id, cents) values ($1, $2)")
        .bind(order.order_id)
        .bind(order.cents)
        .execute(&mut *tx)
        .await?;
    println!("order {}: handling", order.order_id);
    charge().await
}

/// Something that takes its time and fails now and then, for whoever wants to see what happens when
/// a handler is killed half-way or gives up after it has written.
async fn charge() -> Result<(), BoxError> {
    static CALLS: AtomicU64 = AtomicU64::new(1);

    tokio::time::sleep(Duration::from_millis(setting("HANDLER_MILLISECONDS", 0)?)).await;
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    match call.checked_rem(setting("HANDLER_FAILS_EVERY", 0)?) {
        Some(0) => Err("the card was not charged".into()),
        _ => Ok(()),
    }
}

// Under a lock, because consumers that start at the same moment would collide.
const CREATE_BOOKING: &str = "
    begin;
    select pg_advisory_xact_lock(hashtext('booking'));
    create table if not exists booking (
        id bigint generated always as identity,
        order_id bigint not null,
        cents bigint not null
    );
    commit";
