use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(placed.day = self.placed_at / 86_400, self = self.placed_at, 0 = self.placed_at)]
struct OrderPlaced {
    placed_at: i64,
}

fn main() {}
