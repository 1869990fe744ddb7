use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(order_id)]
union OrderPlaced {
    order_id: i64,
    number: u64,
}

fn main() {}
