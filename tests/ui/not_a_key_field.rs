use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(customer, copy = self.customer)]
struct OrderPlaced {
    customer: Customer,
}

struct Customer {
    email: String,
}

#[derive(Dedup)]
enum OrderEvent {
    #[dedup_by(0)]
    Placed(Customer),
}

fn main() {}
