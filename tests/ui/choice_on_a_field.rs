use tower_inbox::Dedup;

#[derive(Dedup)]
struct OrderPlaced {
    #[dedup_by]
    order_id: i64,
    #[dedup_by(email)]
    email: String,
}

#[derive(Dedup)]
enum OrderEvent {
    Placed(#[dedup_by] i64),
}

fn main() {}
