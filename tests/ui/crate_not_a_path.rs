use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(order_id)]
#[dedup(crate = "tower-inbox")]
struct OrderPlaced {
    order_id: i64,
}

fn main() {}
