use tower_inbox::Dedup;

#[derive(Dedup)]
enum OrderEvent {
    #[dedup_by(order_id)]
    Placed { order_id: i64 },
    #[dedup(skip)]
    #[dedup_by(order_id)]
    Cancelled { order_id: i64 },
}

fn main() {}
