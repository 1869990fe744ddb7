use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(order_id)]
#[dedup_by(email)]
struct OrderPlaced {
    order_id: i64,
    email: String,
}

fn main() {}
