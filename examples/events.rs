//! A payment provider calls a webhook, and calls again when it got no answer. Each payment is announced to
//! those who want to know: to each of them once, and to one who could not be reached when the provider
//! calls again.
//!
//! `cargo run --example events --features events` (nothing to install: what was announced is kept in
//! memory). For many processes, with a Redis server; the second run announces nothing:
//!
//! ```sh
//! REDIS_URL=redis://127.0.0.1/ cargo run --example events --features redis
//! ```

use std::{env, time::Duration};

use tower_inbox::{
    BoxError,
    events::{Claimed, DeduplicationConfig, EventDeduplicator, EventIdExtractor},
};

/// That a payment was made, for one of those who want to know.
struct Announcement {
    payment: String,
    to: &'static str,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let store = env::var("REDIS_URL").unwrap_or_else(|_| "memory".to_owned());
    let config = DeduplicationConfig::builder()
        .store(store)
        .namespace("payments")
        // Longer than the provider goes on calling.
        .window(Duration::from_secs(600))
        // Longer than anybody takes to be told.
        .lease(Duration::from_secs(30))
        .build()?;
    let by_payment_and_reader = EventIdExtractor::composite([
        EventIdExtractor::string(|announcement: &Announcement| announcement.payment.clone()),
        EventIdExtractor::string(|announcement: &Announcement| announcement.to),
    ]);
    let announced = EventDeduplicator::new(config, by_payment_and_reader).await?;

    for (call, payment) in ["p-1", "p-2", "p-1"].into_iter().enumerate() {
        println!("the provider calls: {payment} was paid");
        let warehouse_answers = call > 0;
        for to in ["accounts", "warehouse", "customer"] {
            let announcement = Announcement { payment: payment.to_owned(), to };
            announce(&announced, &announcement, warehouse_answers).await?;
        }
    }

    let stats = announced.stats();
    println!("{} announcements, {} of them before", stats.events_checked, stats.duplicates_found);
    Ok(())
}

/// Claims, tells, and confirms. Whoever dies in between leaves a claim that ends with its lease, so the
/// provider's next call announces it after all.
async fn announce(
    announced: &EventDeduplicator<Announcement>,
    announcement: &Announcement,
    warehouse_answers: bool,
) -> Result<(), BoxError> {
    let Announcement { payment, to } = announcement;
    match announced.claim(announcement).await? {
        Claimed::New(claim) if *to == "warehouse" && !warehouse_answers => {
            println!("    {to} does not answer");
            announced.release(&claim).await?;
        }
        Claimed::New(claim) => {
            println!("    {to} hears of {payment}");
            announced.confirm(&claim).await?;
        }
        Claimed::Duplicate => println!("    {to} has heard of it"),
        // Not done yet: answer the provider with an error, so that it calls again.
        Claimed::InFlight => println!("    another process is telling {to}"),
    }
    Ok(())
}
