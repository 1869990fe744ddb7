use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(self.placed_at / 86_400, email.to_lowercase(), day == self.placed_at, _ = self.email)]
struct OrderPlaced {
    placed_at: i64,
    email: String,
}

fn main() {}
