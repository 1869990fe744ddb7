use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(= self.placed_at / 86_400)]
struct OrderPlaced {
    placed_at: i64,
}

fn main() {}
