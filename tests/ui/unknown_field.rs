use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(customer)]
struct OrderPlaced {
    order_id: i64,
    email: String,
    r#type: u8,
}

#[derive(Dedup)]
#[dedup_by(order_id)]
struct Pair(i64, i64);

#[derive(Dedup)]
#[dedup_by(2.id)]
struct Triple(i64, i64);

#[derive(Dedup)]
#[dedup_by(id)]
struct Ping;

#[derive(Dedup)]
enum OrderEvent {
    #[dedup_by(customer)]
    Placed { order_id: i64 },
}

#[derive(Dedup)]
#[dedup_by(last)]
struct Wide {
    alpha: u8,
    beta: u8,
    gamma: u8,
    delta: u8,
    epsilon: u8,
    zeta: u8,
    eta: u8,
    theta: u8,
    iota: u8,
    kappa: u8,
}

fn main() {}
