use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(order_id, pair.0, email, order_id, pair . 0, email = self.email.to_lowercase())]
struct OrderPlaced {
    order_id: i64,
    email: String,
    pair: (u8, u8),
}

#[derive(Dedup)]
enum OrderEvent {
    #[dedup_by(0, 0)]
    Placed(i64),
}

fn main() {}
