use tower_inbox::Dedup;

#[derive(Dedup)]
struct Ping;

fn main() {}
