use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(customer.emial)]
struct OrderPlaced {
    customer: Customer,
}

struct Customer {
    email: String,
}

fn main() {}
