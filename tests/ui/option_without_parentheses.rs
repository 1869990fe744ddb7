use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(order_id)]
#[dedup = "order"]
struct OrderPlaced {
    order_id: i64,
}

#[derive(Dedup)]
#[dedup_by(order_id)]
#[dedup]
struct OrderShipped {
    order_id: i64,
}

fn main() {}
