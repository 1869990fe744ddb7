use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(self.order_id, self.customer.0)]
struct OrderPlaced {
    order_id: i64,
    customer: (String, String),
}

fn main() {}
