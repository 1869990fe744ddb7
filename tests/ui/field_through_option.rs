use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(customer.email)]
struct OrderPlaced {
    customer: Option<Customer>,
}

struct Customer {
    email: String,
}

fn main() {}
