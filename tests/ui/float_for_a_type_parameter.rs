use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(amount)]
struct OrderPlaced<T> {
    amount: T,
}

fn main() {
    tower_inbox::key::encode(&OrderPlaced { amount: 0.1_f64 });
}
