struct OrderPlaced {
    order_id: i64,
}

fn main() {
    tower_inbox::key::encode(&OrderPlaced { order_id: 7 });
}
