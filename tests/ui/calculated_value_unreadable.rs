use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(day = self.placed_at /, hour = self.placed_at 3_600, order_id, minute = self.)]
struct OrderPlaced {
    order_id: i64,
    placed_at: i64,
}

fn main() {}
