use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(id = self.id())]
enum OrderEvent {
    #[dedup_by(0)]
    Placed(i64),
    Cancelled(i64),
}

fn main() {}
