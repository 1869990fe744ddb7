use serde::{Deserialize, Serialize};
use tower_inbox::Dedup;

/// The message: an order that was placed in a shop.
#[derive(Debug, Clone, Deserialize, Serialize, Dedup)]
#[dedup_by(order_id, email)]
pub struct OrderPlaced {
    /// Unique in its shop.
    pub order_id: i64,
    /// Of the customer.
    pub email: String,
    /// What the order costs.
    pub cents: i64,
}

/// So many orders, every third of them twice: its producer missed the broker's answer and sent it
/// again.
pub fn deliveries(orders: u32) -> impl Iterator<Item = OrderPlaced> {
    (1..=i64::from(orders)).flat_map(|order_id| {
        let order = OrderPlaced {
            order_id,
            email: format!("customer-{}@example.com", order_id % 7),
            cents: 100 + order_id,
        };
        let times = if order_id % 3 == 0 { 2 } else { 1 };
        std::iter::repeat_n(order, times)
    })
}
