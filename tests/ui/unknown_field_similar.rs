use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(oder_id, Email.domain)]
struct OrderPlaced {
    order_id: i64,
    email: Email,
}

struct Email {
    domain: String,
}

fn main() {}
