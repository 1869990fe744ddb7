use tower_inbox::Dedup;

#[derive(Dedup)]
enum OrderEvent {
    #[dedup_by(0)]
    Placed(i64),
    #[dedup(skip = true)]
    Ping,
}

fn main() {}
