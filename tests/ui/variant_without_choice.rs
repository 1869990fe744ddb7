use tower_inbox::Dedup;

#[derive(Dedup)]
enum OrderEvent {
    #[dedup_by(order_id)]
    Placed { order_id: i64 },
    Cancelled { order_id: i64 },
    Refunded(i64),
    Ping,
}

fn main() {}
