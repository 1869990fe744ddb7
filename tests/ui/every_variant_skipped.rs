use tower_inbox::Dedup;

#[derive(Dedup)]
enum Signal {
    #[dedup(skip)]
    Ping,
    #[dedup(skip)]
    Pong,
}

fn main() {}
