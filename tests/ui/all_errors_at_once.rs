use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup(kidn = "order")]
enum OrderEvent<T: Clone> {
    #[dedup_by(oder_id, amount, self.id, day =)]
    Placed { order_id: T, amount: f64 },
    #[dedup(crate = "nowhere")]
    Cancelled { #[dedup_by] order_id: i64 },
}

// The failing derive is still an implementation: no complaint about this line.
fn main() {
    tower_inbox::key::encode(&OrderEvent::Placed { order_id: 7, amount: 0.1 });
}
