use tower_inbox::Dedup;

#[derive(Dedup)]
struct OrderPlaced {
    order_id: i64,
    email: String,
}

fn main() {}
