use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(double = self.amount * 2.0)]
struct OrderPlaced {
    amount: f64,
}

fn main() {}
