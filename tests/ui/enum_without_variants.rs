use tower_inbox::Dedup;

#[derive(Dedup)]
#[dedup_by(id = self.id())]
enum Never {}

#[derive(Dedup)]
enum Ever {}

fn main() {}
