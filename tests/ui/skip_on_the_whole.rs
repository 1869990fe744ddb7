use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup(skip)]
#[dedup_by(order_id)]
struct OrderPlaced {
    order_id: i64,
}

#[derive(Dedup)]
#[dedup(skip)]
enum OrderEvent {
    #[dedup_by(0)]
    Placed(i64),
}

fn main() {}
