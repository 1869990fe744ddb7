use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(order_id)]
struct OrderPlaced {
    order_id: i64,
    #[dedup(skip)]
    email: String,
}

#[derive(Dedup)]
enum OrderEvent {
    #[dedup_by(0)]
    Placed(#[dedup(kind = "id")] i64),
}

fn main() {}
