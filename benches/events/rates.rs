use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tower_inbox::{
    BoxError,
    events::{Claimed, EventDeduplicator},
};
use tower_inbox_servers::{RedisCluster, RedisServer};

use crate::{
    scene::{Done, Numbers, connect, cpu, drive, id_of, redis_benchmark, set_all, texts},
    support::{Args, Goal, Rounds, Table, judged, order_of},
};

/// Batches of 100 and 1 000, several in flight.
pub(crate) async fn batches(args: &Args) -> Result<(), BoxError> {
    for (size, flight, goal) in [(100, 8, 1.2), (1000, 4, 1.2)] {
        let server = RedisServer::start()?;
        let numbers = Numbers::default();
        let mut rounds = Rounds::default();
        let mut server_ns = Rounds::default();
        let variants = [BENCHMARK, PLAIN, COARSE, HALF, FINE];
        for round in 0..args.rounds() {
            for at in order_of(round, variants.len()) {
                let variant = variants[at];
                server.cli(&["FLUSHALL"])?;
                let (rate, used) = one(args, &server, &numbers, variant, size, flight).await?;
                rounds.push(variant, rate);
                server_ns.push(variant, used);
            }
        }
        let title = format!("Batches of {size}, {flight} in flight");
        let mut table =
            Table::new(&["variant", "events/s", "server ns", "against redis-benchmark", "goal"]);
        for variant in variants {
            let goal = (variant == COARSE).then_some(Goal::AtLeast(goal));
            let [ratio, goal] = judged(rounds.ratio(variant, BENCHMARK), goal);
            let rate = format!("{:.0}", rounds.of(variant).median);
            let used = format!("{:.0}", server_ns.of(variant).median);
            table.row([variant.to_owned(), rate, used, ratio, goal]);
        }
        table.print(&title);
    }
    Ok(())
}

/// Events per second, and the server's nanoseconds for each.
async fn one(
    args: &Args,
    server: &RedisServer,
    numbers: &Numbers,
    variant: &'static str,
    size: u64,
    flight: usize,
) -> Result<(f64, f64), BoxError> {
    let before = cpu(server);
    if variant == BENCHMARK {
        let requests = if args.quick { "200000" } else { "1000000" };
        let rate = redis_benchmark(
            server.port(),
            &["-c", "4", "-P", "100", "-n", requests, "-r", "1000000000"],
            &["SET", "dedup:__rand_int__aaaaaaaaaaaaaaaaaaaaaaaa", "1", "NX", "PX", "3600000"],
        )
        .await?;
        return Ok((rate, nanos(cpu(server) - before, requests.parse()?)));
    }
    if variant == PLAIN {
        let connection = connect(&server.url()).await?;
        let numbers = numbers.clone();
        let done = drive(flight, args.slice(), move || {
            let (mut connection, numbers) = (connection.clone(), numbers.clone());
            async move {
                set_all(&mut connection, numbers.take(size), HOUR).await?;
                Ok(size)
            }
        })
        .await?;
        return Ok((done.per_second(), nanos(cpu(server) - before, done.events)));
    }
    // Every slot that a check looks into has something in it, as after the first window.
    let (window, slot) = match variant {
        COARSE => (SHORT, SHORT),
        HALF => (SHORT, SHORT / 2),
        _ => (SHORT, SHORT / 4),
    };
    let events = texts(&server.url(), variant, window, slot, 0).await?;
    // At full speed, so that the tables are as large as they have to be.
    mark_batches_for(window + slot, &events, numbers, size, flight).await?;
    let before = cpu(server);
    let done = mark_batches(args, &events, numbers, size, flight).await?;
    Ok((done.per_second(), nanos(cpu(server) - before, done.events)))
}

/// Marks at a moderate rate for a while, so that each slot has its sets.
async fn warm(
    events: &EventDeduplicator<String>,
    numbers: &Numbers,
    time: Duration,
) -> Result<(), BoxError> {
    let start = Instant::now();
    while start.elapsed() < time {
        let batch: Vec<String> = numbers.take(20_000).map(id_of).collect();
        events.batch_check_and_mark(&batch).await?;
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    Ok(())
}

async fn mark_batches(
    args: &Args,
    events: &EventDeduplicator<String>,
    numbers: &Numbers,
    size: u64,
    flight: usize,
) -> Result<Done, BoxError> {
    mark_batches_for(args.slice(), events, numbers, size, flight).await
}

async fn mark_batches_for(
    time: Duration,
    events: &EventDeduplicator<String>,
    numbers: &Numbers,
    size: u64,
    flight: usize,
) -> Result<Done, BoxError> {
    let (events, numbers) = (events.clone(), numbers.clone());
    drive(flight, time, move || {
        let (events, numbers) = (events.clone(), numbers.clone());
        async move {
            let batch: Vec<String> = numbers.take(size).map(id_of).collect();
            let new = events.batch_check_and_mark(&batch).await?;
            assert!(new.iter().all(|new| *new), "all of them are new");
            Ok(size)
        }
    })
    .await
}

/// Single calls of many tasks, put together and not.
pub(crate) async fn singles(args: &Args) -> Result<(), BoxError> {
    let server = RedisServer::start()?;
    let numbers = Numbers::default();
    let apart = texts(&server.url(), "apart", HOUR, HOUR / 4, 0).await?;
    let (together, driver) = texts(&server.url(), "together", HOUR, HOUR / 4, 0).await?.coalesced();
    tokio::spawn(driver);
    for tasks in [64, 512] {
        let mut rounds = Rounds::default();
        for round in 0..args.rounds() {
            for at in order_of(round, 2) {
                let (name, events) = [(APART, &apart), (TOGETHER, &together)][at];
                let (events, numbers) = (events.clone(), numbers.clone());
                let mut done = drive(tasks, args.slice(), move || {
                    let (events, numbers) = (events.clone(), numbers.clone());
                    async move {
                        let id = id_of(numbers.take(1).start);
                        assert!(events.check_and_mark(&id).await?, "it is new");
                        Ok(1)
                    }
                })
                .await?;
                rounds.push(name, done.per_second());
                rounds.push(p50(name), micros(done.percentile(0.5)));
            }
        }
        let mut table = Table::new(&["single calls", "events/s", "p50 µs", "ratio", "goal"]);
        for name in [APART, TOGETHER] {
            let goal = (tasks == 64 && name == TOGETHER).then_some(Goal::AtLeast(2.0));
            let [ratio, goal] = judged(rounds.ratio(name, APART), goal);
            let rate = format!("{:.0}", rounds.of(name).median);
            let median = format!("{:.0}", rounds.of(p50(name)).median);
            table.row([name.to_owned(), rate, median, ratio, goal]);
        }
        table.print(&format!("Single calls, {tasks} tasks"));
    }
    Ok(())
}

/// Claim and confirm against marking at once, in the server's processor time.
pub(crate) async fn claims(args: &Args) -> Result<(), BoxError> {
    let server = RedisServer::start()?;
    let numbers = Numbers::default();
    let mut rounds = Rounds::default();
    let events = texts(&server.url(), "claims", SHORT, SHORT / 4, 0).await?;
    warm(&events, &numbers, SHORT * 5 / 4).await?;
    for round in 0..args.rounds() {
        for at in order_of(round, 2) {
            let before = cpu(&server);
            let (name, done) = if at == 0 {
                (MARK, mark_batches(args, &events, &numbers, 100, 8).await?)
            } else {
                (CLAIM, claim_batches(args, &events, &numbers).await?)
            };
            rounds.push(name, nanos(cpu(&server) - before, done.events));
            rounds.push(rate(name), done.per_second());
        }
    }
    let mut table = Table::new(&[
        "batches of 100, 8 in flight",
        "events/s",
        "server ns",
        "ratio of ns",
        "goal",
    ]);
    for name in [MARK, CLAIM] {
        let goal = (name == CLAIM).then_some(Goal::AtMost(2.0));
        let [ratio, goal] = judged(rounds.ratio(name, MARK), goal);
        let per_second = format!("{:.0}", rounds.of(rate(name)).median);
        let used = format!("{:.0}", rounds.of(name).median);
        table.row([name.to_owned(), per_second, used, ratio, goal]);
    }
    table.print("Claim and confirm");
    Ok(())
}

async fn claim_batches(
    args: &Args,
    events: &EventDeduplicator<String>,
    numbers: &Numbers,
) -> Result<Done, BoxError> {
    let (events, numbers) = (events.clone(), numbers.clone());
    drive(8, args.slice(), move || {
        let (events, numbers) = (events.clone(), numbers.clone());
        async move {
            let batch: Vec<String> = numbers.take(100).map(id_of).collect();
            let claimed = events.batch_claim(&batch).await?;
            let claims: Vec<_> = claimed.into_iter().filter_map(Claimed::claim).collect();
            assert_eq!(claims.len(), 100, "all of them are new");
            let confirmed = events.batch_confirm(&claims).await?;
            assert!(confirmed.iter().all(|confirmed| *confirmed), "all of them are ours");
            Ok(100)
        }
    })
    .await
}

/// One task that checks one event after the other, against PING.
pub(crate) async fn latency(args: &Args) -> Result<(), BoxError> {
    let server = RedisServer::start()?;
    let numbers = Numbers::default();
    let events = texts(&server.url(), "latency", SHORT, SHORT / 4, 0).await?;
    warm(&events, &numbers, SHORT * 5 / 4).await?;
    let connection = connect(&server.url()).await?;
    let mut rounds = Rounds::default();
    for round in 0..args.rounds() {
        for at in order_of(round, 3) {
            let (name, mut done) = match at {
                0 => {
                    let connection = connection.clone();
                    let ping = move || {
                        let mut connection = connection.clone();
                        async move {
                            let _: String = redis::cmd("PING").query_async(&mut connection).await?;
                            Ok(1)
                        }
                    };
                    ("PING", drive(1, args.slice(), ping).await?)
                }
                1 => {
                    let (events, numbers) = (events.clone(), numbers.clone());
                    let check = move || {
                        let (events, numbers) = (events.clone(), numbers.clone());
                        async move {
                            let id = id_of(numbers.take(1).start);
                            assert!(events.check_and_mark(&id).await?, "it is new");
                            Ok(1)
                        }
                    };
                    ("check_and_mark", drive(1, args.slice(), check).await?)
                }
                _ => ("a batch of 100", mark_batches(args, &events, &numbers, 100, 1).await?),
            };
            rounds.push(p50(name), micros(done.percentile(0.5)));
            rounds.push(p99(name), micros(done.percentile(0.99)));
        }
    }
    let mut table = Table::new(&[
        "one task",
        "p50 µs",
        "against PING",
        "goal",
        "p99 µs",
        "against PING",
        "goal",
    ]);
    for name in ["PING", "check_and_mark", "a batch of 100"] {
        let single = name == "check_and_mark";
        let [fifty, fifty_goal] =
            judged(rounds.ratio(p50(name), p50("PING")), single.then_some(Goal::AtMost(1.5)));
        let [most, most_goal] =
            judged(rounds.ratio(p99(name), p99("PING")), single.then_some(Goal::AtMost(2.0)));
        let median = format!("{:.0}", rounds.of(p50(name)).median);
        let high = format!("{:.0}", rounds.of(p99(name)).median);
        table.row([name.to_owned(), median, fifty, fifty_goal, high, most, most_goal]);
    }
    table.print("Latency, one task");
    Ok(())
}

/// Three masters on this machine, against `redis-benchmark --cluster`.
pub(crate) async fn cluster(args: &Args) -> Result<(), BoxError> {
    let cluster = RedisCluster::start(3)?;
    let nodes: Vec<String> =
        cluster.nodes().iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
    let url = format!("redis-cluster://{}", nodes.join(","));
    let numbers = Numbers::default();
    let events = texts(&url, "cluster", HOUR, HOUR, 0).await?;
    warm(&events, &numbers, SHORT).await?;
    let mut rounds = Rounds::default();
    for round in 0..args.rounds() {
        for at in order_of(round, 2) {
            if at == 0 {
                let requests = if args.quick { "300000" } else { "1500000" };
                let port = cluster.nodes()[0].port();
                let more =
                    ["--cluster", "-c", "6", "-P", "100", "-n", requests, "-r", "1000000000"];
                let set = ["SET", "dedup:{tag}:__rand_int__", "1", "NX", "PX", "3600000"];
                rounds.push(BENCHMARK, redis_benchmark(port, &more, &set).await?);
            } else {
                let done = mark_batches(args, &events, &numbers, 4000, 4).await?;
                rounds.push(COARSE, done.per_second());
            }
        }
    }
    let mut table = Table::new(&["three masters", "events/s", "ratio", "goal"]);
    for name in [BENCHMARK, COARSE] {
        let goal = (name == COARSE).then_some(Goal::AtLeast(1.0));
        let [ratio, goal] = judged(rounds.ratio(name, BENCHMARK), goal);
        table.row([name.to_owned(), format!("{:.0}", rounds.of(name).median), ratio, goal]);
    }
    table.print("Redis Cluster, batches of 4 000, 4 in flight");
    drop(Arc::new(cluster));
    Ok(())
}

#[allow(clippy::cast_precision_loss)]
fn nanos(seconds: f64, events: u64) -> f64 {
    seconds * 1e9 / events.max(1) as f64
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn p50(name: &str) -> &'static str {
    match name {
        "PING" => "PING p50",
        "check_and_mark" => "check p50",
        APART => "apart p50",
        TOGETHER => "together p50",
        _ => "batch p50",
    }
}

fn p99(name: &str) -> &'static str {
    match name {
        "PING" => "PING p99",
        "check_and_mark" => "check p99",
        _ => "batch p99",
    }
}

fn rate(name: &str) -> &'static str {
    if name == MARK { "mark rate" } else { "claim rate" }
}

const BENCHMARK: &str = "redis-benchmark SET NX PX";
const PLAIN: &str = "SET NX PX in pipelines";
const COARSE: &str = "slot-1-of-1";
const HALF: &str = "slot-1-of-2";
const FINE: &str = "slot-1-of-4";
const APART: &str = "one by one";
const TOGETHER: &str = "coalesced";
const MARK: &str = "check_and_mark";
const CLAIM: &str = "claim and confirm";
const HOUR: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_secs(2);
