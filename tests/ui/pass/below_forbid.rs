#![forbid(
    future_incompatible,
    missing_docs,
    nonstandard_style,
    rust_2018_idioms,
    unsafe_code,
    unused_qualifications,
    unused_variables,
    warnings
)]
//! An `allow` in generated code would be an error here.

use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(order_id, day = self.placed_at / 86_400)]
struct OrderPlaced {
    order_id: i64,
    placed_at: i64,
}

#[derive(Dedup)]
enum OrderEvent {
    #[dedup_by(0, tens = _0 / 10)]
    Placed(i64, i64),
    #[dedup_by(order_id, tens = order_id / 10)]
    Cancelled { order_id: i64, reason: String },
}

fn main() {
    OrderPlaced { order_id: 7, placed_at: 0 }.kind();
    let (event, other) = (OrderEvent::Placed(7, 8), String::new());
    event.kind();
    if let OrderEvent::Placed(_, 9) = event {
        return;
    }
    let event = OrderEvent::Cancelled { order_id: 7, reason: other };
    if let OrderEvent::Cancelled { reason, .. } = event {
        drop(reason);
    }
}
