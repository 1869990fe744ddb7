use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by]
struct OrderPlaced {
    order_id: i64,
}

#[derive(Dedup)]
#[dedup_by = "order_id"]
struct OrderShipped {
    order_id: i64,
}

fn main() {}
