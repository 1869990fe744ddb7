use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(order_id, customer.email, id = self.id())]
enum OrderEvent {
    Placed { order_id: i64 },
}

fn main() {}
