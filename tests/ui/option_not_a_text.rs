use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(order_id)]
#[dedup(kind = order, crate = tower_inbox)]
struct OrderPlaced {
    order_id: i64,
}

#[derive(Dedup)]
#[dedup_by(order_id)]
#[dedup(kind)]
struct OrderShipped {
    order_id: i64,
}

#[derive(Dedup)]
#[dedup_by(order_id)]
#[dedup(kind("order"))]
struct OrderReturned {
    order_id: i64,
}

#[derive(Dedup)]
#[dedup_by(order_id)]
#[dedup(kind =)]
struct OrderLost {
    order_id: i64,
}

fn main() {}
