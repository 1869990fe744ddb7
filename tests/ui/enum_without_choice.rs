use tower_inbox::Dedup;

#[derive(Dedup)]
enum OrderEvent {
    Placed { order_id: i64 },
    Cancelled { order_id: i64 },
}

fn main() {}
