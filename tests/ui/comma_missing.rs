use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(order_id email)]
struct OrderPlaced {
    order_id: i64,
    email: String,
}

#[derive(Dedup)]
#[dedup_by(order_id; email)]
struct OrderShipped {
    order_id: i64,
    email: String,
}

#[derive(Dedup)]
#[dedup_by(day self.placed_at.date())]
struct OrderReturned {
    placed_at: i64,
}

fn main() {}
