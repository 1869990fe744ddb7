use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(order_id)]
#[dedup(kind = "order", kind = "order")]
#[dedup(crate = "tower_inbox")]
#[dedup(crate = "tower_inbox")]
struct OrderPlaced {
    order_id: i64,
}

#[derive(Dedup)]
enum OrderEvent {
    #[dedup_by(0)]
    Placed(i64),
    #[dedup(skip, skip)]
    Ping,
}

fn main() {}
