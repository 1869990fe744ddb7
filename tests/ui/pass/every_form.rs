use tower_inbox::Dedup;

mod inbox {
    pub use tower_inbox as renamed;
}

#[derive(Dedup)]
#[dedup_by(order_id, customer.email, lines.0, day = self.placed_at / 86_400,)]
#[dedup(kind = "order/placed", crate = "inbox::renamed",)]
struct OrderPlaced<'a, T, const N: usize>
where
    T: Clone,
{
    order_id: [T; N],
    customer: Customer<'a>,
    lines: (u8, f64),
    placed_at: i64,
}

struct Customer<'a> {
    email: &'a str,
}

#[derive(Dedup)]
enum OrderEvent {
    #[dedup_by(order_id, lower = email.to_lowercase())]
    Placed { order_id: i64, email: String },
    #[dedup_by(0)]
    #[dedup(kind = "gone")]
    Cancelled(i64),
    #[dedup(skip)]
    Ping,
}

#[derive(Dedup)]
#[dedup_by(id = self.id())]
enum Envelope {
    Text(u8),
    Number(u8),
}

impl Envelope {
    fn id(&self) -> u8 {
        match self {
            Self::Text(id) | Self::Number(id) => *id,
        }
    }
}

fn main() {
    let customer = Customer { email: "a@example.com" };
    OrderPlaced { order_id: ["7"], customer, lines: (1, 0.1), placed_at: 0 }.kind();
    OrderEvent::Placed { order_id: 7, email: String::new() }.kind();
    OrderEvent::Cancelled(7).kind();
    OrderEvent::Ping.kind();
    Envelope::Text(1).kind();
    Envelope::Number(1).kind();
}
