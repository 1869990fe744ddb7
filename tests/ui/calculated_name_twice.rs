use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(day = self.placed_at / 86_400, day = self.placed_at / 3_600)]
struct OrderPlaced {
    placed_at: i64,
}

#[derive(Dedup)]
#[dedup_by(id = self.id(), id = 1)]
enum OrderEvent {
    Placed(i64),
}

fn main() {}
