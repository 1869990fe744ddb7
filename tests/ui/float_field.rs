use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(order_id, amount, rate, discount)]
struct OrderPlaced {
    order_id: i64,
    amount: f64,
    rate: f32,
    discount: std::option::Option<f64>,
}

#[derive(Dedup)]
#[dedup_by(0)]
struct Amount(f32);

#[derive(Dedup)]
enum OrderEvent {
    #[dedup_by(amount)]
    Placed { amount: f64 },
}

fn main() {}
