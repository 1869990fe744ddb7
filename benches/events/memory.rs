use std::time::{Duration, Instant};

use tower_inbox::BoxError;
use tower_inbox_servers::RedisServer;

use crate::{
    scene::{Numbers, connect, cpu, id_of, set_all, texts, used_memory},
    support::{Args, Goal, Spread, Table, judged},
};

/// Bytes of `used_memory` for each event, with 1 and 10 million of them.
pub(crate) async fn bytes(args: &Args) -> Result<(), BoxError> {
    let sizes: &[u64] = if args.quick { &[100_000] } else { &[1_000_000, 10_000_000] };
    let mut table = Table::new(&["events", "variant", "bytes for each", "goal"]);
    for &size in sizes {
        for (variant, expected) in
            [("SET NX PX", None), ("ours", Some(0)), ("ours, expected_events", Some(size))]
        {
            let server = RedisServer::start()?;
            let numbers = Numbers::default();
            let before = used_memory(&server);
            match expected {
                None => {
                    let mut connection = connect(&server.url()).await?;
                    for _ in 0..size / 10_000 {
                        set_all(&mut connection, numbers.take(10_000), HOUR).await?;
                    }
                }
                Some(expected) => {
                    // All in one slot, as after an hour's worth of a quarter.
                    let events = texts(&server.url(), "memory", HOUR, HOUR, expected).await?;
                    for _ in 0..size / 10_000 {
                        let batch: Vec<String> = numbers.take(10_000).map(id_of).collect();
                        let new = events.batch_check_and_mark(&batch).await?;
                        assert!(new.iter().all(|new| *new), "all of them are new");
                    }
                }
            }
            #[allow(clippy::cast_precision_loss)]
            let each = (used_memory(&server) - before) as f64 / size as f64;
            let goal =
                if expected.is_some() { Goal::AtMost(10.0).judge(each) } else { String::new() };
            table.row([size.to_string(), variant.to_owned(), format!("{each:.2}"), goal]);
        }
    }
    table.print("Memory");
    Ok(())
}

/// What the server's processor does to forget a million events.
pub(crate) async fn expiry(args: &Args) -> Result<(), BoxError> {
    let size: u64 = if args.quick { 100_000 } else { 1_000_000 };
    let mut ratios = Vec::new();
    let (mut plain_ms, mut ours_ms) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds().min(3) {
        let numbers = Numbers::default();
        let plain = {
            let server = RedisServer::start()?;
            let mut connection = connect(&server.url()).await?;
            for _ in 0..size / 10_000 {
                set_all(&mut connection, numbers.take(10_000), WINDOW).await?;
            }
            forgotten(&server, WINDOW).await?
        };
        let ours = {
            let server = RedisServer::start()?;
            let events = texts(&server.url(), "expiry", WINDOW, WINDOW, size).await?;
            for _ in 0..size / 10_000 {
                let batch: Vec<String> = numbers.take(10_000).map(id_of).collect();
                events.batch_check_and_mark(&batch).await?;
            }
            forgotten(&server, WINDOW * 2).await?
        };
        ratios.push(ours / plain);
        plain_ms.push(plain * 1000.0);
        ours_ms.push(ours * 1000.0);
    }
    let mut table = Table::new(&["variant", "server ms", "ratio", "goal"]);
    let [ratio, goal] = judged(Spread::of(ratios), Some(Goal::AtMost(0.01)));
    let ms = |values| format!("{:.0}", Spread::of(values).median);
    table.row(["an expiry for each key".to_owned(), ms(plain_ms), "1".to_owned(), String::new()]);
    table.row(["ours".to_owned(), ms(ours_ms), ratio, goal]);
    table.print(&format!("Forgetting {size} events"));
    Ok(())
}

/// Seconds of processor time until all keys that end by themselves are gone, less what a server without
/// work uses in that time.
async fn forgotten(server: &RedisServer, longest: Duration) -> Result<f64, BoxError> {
    let (before, start) = (cpu(server), Instant::now());
    tokio::time::sleep(longest + SETTLE).await;
    let (used, took) = (cpu(server) - before, start.elapsed());
    let idle = cpu(server);
    tokio::time::sleep(took).await;
    Ok((used - (cpu(server) - idle)).max(0.0001))
}

const HOUR: Duration = Duration::from_secs(3600);
// Long enough for all events to be there before the first is forgotten.
const WINDOW: Duration = Duration::from_secs(8);
const SETTLE: Duration = Duration::from_secs(8);
