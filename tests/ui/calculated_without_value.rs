use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(order_id, day =)]
struct OrderPlaced {
    order_id: i64,
    placed_at: i64,
}

#[derive(Dedup)]
#[dedup_by(day =, order_id)]
struct OrderShipped {
    order_id: i64,
    placed_at: i64,
}

fn main() {}
