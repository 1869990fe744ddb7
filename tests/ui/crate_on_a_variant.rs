use tower_inbox::Dedup;

#[derive(Dedup)]
enum OrderEvent {
    #[dedup_by(0)]
    #[dedup(crate = "tower_inbox")]
    Placed(i64),
}

fn main() {}
