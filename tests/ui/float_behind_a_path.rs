use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(total.amount)]
struct OrderPlaced {
    total: Total,
}

struct Total {
    amount: f64,
}

fn main() {}
