use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(body.id)]
struct Envelope<T> {
    body: Body<T>,
}

struct Body<T> {
    id: T,
}

fn main() {}
