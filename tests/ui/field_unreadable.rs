use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(1, "order id", 7u8, #, 0x1, self, _, order_id.super, order_id)]
struct OrderPlaced {
    order_id: i64,
}

fn main() {}
