//! Events on real Redis servers: windows, races, and what happens when a server, a process or a
//! connection does not do what it should.
#![cfg(all(feature = "redis", feature = "testing"))]

use std::{
    collections::BTreeSet,
    convert::Infallible,
    env, io,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tower::{Layer, ServiceExt, service_fn};
use tower_inbox::{
    Outcome,
    events::{
        Claimed, DedupLayer, DeduplicationConfig, DeduplicationConfigBuilder, EventDeduplicator,
        EventIdExtractor, EventsErrorKind, FailurePolicy, Retries,
    },
};
use tower_inbox_servers::{RedisCluster, RedisSentinel, RedisServer};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_forgotten_within_its_window() {
    let server = RedisServer::start().unwrap();
    let mut checked = 0_u64;
    let mut jobs = Vec::new();
    for (name, slot, sliding) in
        [("a", 1000, false), ("b", 500, false), ("c", 250, true), ("d", 100, false)]
    {
        let config = config(&server).namespace(name).window(WINDOW).slot(ms(slot)).sliding(sliding);
        let events = numbers(config).await;
        jobs.push(tokio::spawn(async move {
            let mut questions = Vec::new();
            for batch in 0..70 {
                let ids: Vec<u64> = (batch * 400..(batch + 1) * 400).collect();
                let before = Instant::now();
                assert!(events.batch_check_and_mark(&ids).await.unwrap().iter().all(|new| *new));
                let after = Instant::now();
                questions.push(tokio::spawn(ask(events.clone(), ids, before, after, slot)));
                tokio::time::sleep(ms(7)).await;
            }
            let mut kept = 0;
            for question in questions {
                kept += question.await.unwrap();
            }
            kept
        }));
    }
    for job in jobs {
        checked += job.await.unwrap();
    }
    assert!(checked > 10_000, "only {checked} were asked for in time");
}

/// Asks for events shortly before the end of their window, and again when they have to be forgotten; how
/// many were asked for in time.
async fn ask(
    events: EventDeduplicator<u64>,
    ids: Vec<u64>,
    before: Instant,
    after: Instant,
    slot: u64,
) -> u64 {
    tokio::time::sleep_until((before + WINDOW - ms(80)).into()).await;
    let seen = events.batch_check_duplicates(&ids).await.unwrap();
    // An answer that came later says nothing: the question may have been late as well.
    let in_time = before.elapsed() < WINDOW;
    assert!(!in_time || seen.iter().all(|seen| *seen), "forgotten early, slot {slot}");
    tokio::time::sleep_until((after + WINDOW + ms(slot) + ms(2)).into()).await;
    let seen = events.batch_check_duplicates(&ids).await.unwrap();
    assert!(seen.iter().all(|seen| !*seen), "remembered too long, slot {slot}");
    if in_time { ids.len() as u64 } else { 0 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_change_under_load_without_a_gap() {
    let server = RedisServer::start().unwrap();
    let config = || config(&server).window(ms(600)).slot(ms(60));
    let (one, other) = (numbers(config()).await, numbers(config()).await);
    let next = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..6)
        .map(|at| {
            let events = if at % 2 == 0 { one.clone() } else { other.clone() };
            let (next, stop) = (Arc::clone(&next), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut again = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    let start = next.fetch_add(50, Ordering::Relaxed);
                    let ids: Vec<u64> = (start..start + 50).collect();
                    let since = Instant::now();
                    let new = events.batch_check_and_mark(&ids).await.unwrap();
                    assert!(new.iter().all(|new| *new));
                    tokio::time::sleep(ms(start % 200)).await;
                    let new = events.batch_check_and_mark(&ids).await.unwrap();
                    if since.elapsed() < ms(600) {
                        assert!(new.iter().all(|new| !*new), "a gap between slots");
                        again += 50;
                    }
                }
                again
            })
        })
        .collect();
    tokio::time::sleep(ms(2500)).await;
    stop.store(true, Ordering::Relaxed);
    let mut again = 0;
    for worker in workers {
        again += worker.await.unwrap();
    }
    assert!(again > 1000, "{again}");
}

/// Every bucket ends by itself, whoever touched it first: two processes, tables that grow, and a server
/// that lost everything in between.
#[tokio::test]
async fn no_key_stays_for_ever() {
    let server = RedisServer::start().unwrap();
    let (one, other) = (numbers(config(&server)).await, numbers(config(&server)).await);
    let marks = async |from: u64| {
        for start in (from..from + 20_000).step_by(500) {
            let ids: Vec<u64> = (start..start + 500).collect();
            let events = if start % 1000 == 0 { &one } else { &other };
            events.batch_mark_seen(&ids).await.unwrap();
            let claims = events.batch_claim(&[start + 1_000_000]).await.unwrap();
            drop(claims);
        }
    };
    marks(0).await;
    server.cli(&["FLUSHALL"]).unwrap();
    marks(20_000).await;
    // The one that stays has the namespace's secret.
    let lua = "local n = 0 for _, key in ipairs(redis.call('KEYS', '*')) do \
               if redis.call('PTTL', key) < 0 and key ~= 'ti:e:{default}:n' then n = n + 1 end end \
               return n .. ' of ' .. redis.call('DBSIZE')";
    let endless = server.cli(&["EVAL", lua, "0"]).unwrap();
    assert!(endless.starts_with("0 of ") && endless.trim() != "0 of 0", "{endless}");
}

#[tokio::test]
async fn a_server_that_lost_everything_is_begun_anew_and_all_agree() {
    let server = RedisServer::start().unwrap();
    let (one, other) = (numbers(config(&server)).await, numbers(config(&server)).await);
    assert!(one.check_and_mark(&1).await.unwrap());
    server.cli(&["FLUSHALL"]).unwrap();
    assert!(one.check_and_mark(&2).await.unwrap());
    // It finds no secret and makes another one, while the marks are under the old one.
    let third = numbers(config(&server)).await;
    assert!(third.check_and_mark(&3).await.unwrap());
    assert!(one.is_duplicate(&3).await.unwrap());
    assert!(other.is_duplicate(&3).await.unwrap());
    assert!(one.check_and_mark(&4).await.unwrap());
    for events in [&one, &other, &third] {
        assert_eq!(events.batch_check_duplicates(&[3, 4, 5]).await.unwrap(), [true, true, false]);
    }
}

#[tokio::test]
async fn sets_that_were_too_small_cost_memory_and_nothing_else() {
    let server = RedisServer::start().unwrap();
    let events = numbers(config(&server)).await;
    // A table for one event, and many more that arrive before anybody has counted them.
    events.mark_seen(&0).await.unwrap();
    let ids: Vec<u64> = (1..2000).collect();
    let parts = ids.chunks(100).map(|part| events.batch_check_and_mark(part));
    for new in futures_util::future::join_all(parts).await {
        assert!(new.unwrap().iter().all(|new| *new));
    }
    assert!(events.batch_check_duplicates(&ids).await.unwrap().iter().all(|seen| *seen));
    let all: Vec<u64> = (0..100_000).collect();
    let new = events.filter(&all).await.unwrap();
    assert_eq!((new.len(), new.first()), (98_000, Some(&&2000)));
    assert!(events.filter(&all).await.unwrap().is_empty());
    let health = events.health_check().await.unwrap();
    assert_eq!(health.facts["events"], "100000");
    let tables: usize = health.facts["tables"].parse().unwrap();
    assert!((3..9).contains(&tables), "{tables} tables");
}

#[tokio::test]
async fn exact_ids_are_kept_as_they_are() {
    let server = RedisServer::start().unwrap();
    let exact = || {
        let by_text = EventIdExtractor::string(|text: &String| text.clone());
        let config = config(&server).namespace("exact").compress_event_ids(false);
        EventDeduplicator::new(config.build().unwrap(), by_text)
    };
    let events = exact().await.unwrap();
    let mut ids: Vec<String> =
        (0..3000).map(|number| format!("an id of some length {number}")).collect();
    ids.push("x".repeat(10_000));
    assert_eq!(events.filter(&ids).await.unwrap().len(), 3001);
    assert!(events.filter(&ids).await.unwrap().is_empty());
    let claim = events.claim(&"new".to_owned()).await.unwrap().claim().unwrap();
    events.confirm(&claim).await.unwrap();
    assert!(exact().await.unwrap().is_duplicate(&"new".to_owned()).await.unwrap());
    // Whoever keeps them in another way is told so.
    let by_text = EventIdExtractor::string(|text: &String| text.clone());
    let compact = config(&server).namespace("exact").build().unwrap();
    let error = EventDeduplicator::new(compact, by_text).await.unwrap_err();
    assert_eq!(error.kind(), EventsErrorKind::Config);
}

#[tokio::test]
async fn clearing_forgets_one_namespace_and_nothing_else() {
    let server = RedisServer::start().unwrap();
    let mine = numbers(config(&server).namespace("mine").window(None)).await;
    let theirs = numbers(config(&server).namespace("theirs").window(None)).await;
    let ids: Vec<u64> = (0..60_000).collect();
    mine.batch_mark_seen(&ids).await.unwrap();
    theirs.batch_mark_seen(&ids[..5000]).await.unwrap();
    let keys =
        |server: &RedisServer| -> u64 { server.cli(&["DBSIZE"]).unwrap().trim().parse().unwrap() };
    let before = keys(&server);
    mine.clear().await.unwrap();
    assert!(keys(&server) < before / 2, "its sets are gone");
    assert!(mine.batch_check_duplicates(&ids).await.unwrap().iter().all(|seen| !*seen));
    assert!(theirs.batch_check_duplicates(&ids[..5000]).await.unwrap().iter().all(|seen| *seen));
    assert!(mine.check_and_mark(&1).await.unwrap());
    theirs.clear().await.unwrap();
    mine.clear().await.unwrap();
    assert_eq!(keys(&server), 2, "what is left says how the two are laid out");
}

#[tokio::test]
async fn a_server_that_evicts_is_refused() {
    let server = RedisServer::builder().maxmemory(50 << 20).policy("allkeys-lru").start().unwrap();
    let error =
        EventDeduplicator::new(config(&server).build().unwrap(), by_number()).await.unwrap_err();
    assert_eq!(error.kind(), EventsErrorKind::Refused);
    let text = std::error::Error::source(&error).and_then(|e| e.source()).unwrap().to_string();
    assert!(text.contains("allkeys-lru") && text.contains("noeviction"), "{text}");
    let events = numbers(config(&server).allow_eviction(true)).await;
    assert!(events.check_and_mark(&1).await.unwrap());
    assert!(!events.health_check().await.unwrap().is_healthy());
}

#[tokio::test]
async fn a_full_server_refuses_and_forgets_nothing() {
    let server = RedisServer::builder().maxmemory(3 << 20).start().unwrap();
    let events = numbers(config(&server).window(Duration::from_secs(60)).retries(0)).await;
    let mut marked = Vec::new();
    let error = loop {
        let start = marked.len() as u64;
        let ids: Vec<u64> = (start..start + 1000).collect();
        match events.batch_check_and_mark(&ids).await {
            Ok(_) => marked.extend(ids),
            Err(error) => break error,
        }
        assert!(marked.len() < 1_000_000, "it is never full");
    };
    assert_eq!(error.kind(), EventsErrorKind::Full, "{error:?}");
    assert!(marked.len() > 1000);
    // A single event may still find room.
    server.cli(&["CONFIG", "SET", "maxmemory", "1mb"]).unwrap();
    assert_eq!(events.check_and_mark(&u64::MAX).await.unwrap_err().kind(), EventsErrorKind::Full);
    assert_eq!(events.claim(&u64::MAX).await.unwrap_err().kind(), EventsErrorKind::Full);
    assert!(events.batch_check_duplicates(&marked).await.unwrap().iter().all(|seen| *seen));
    server.cli(&["CONFIG", "SET", "maxmemory", "100mb"]).unwrap();
    assert!(events.check_and_mark(&u64::MAX).await.unwrap(), "it comes back by itself");
}

#[tokio::test]
async fn a_server_that_stalls_is_waited_for_and_not_believed_dead() {
    let server = RedisServer::builder().debug_commands(true).start().unwrap();
    let short = ms(150);
    let config = config(&server).read_timeout(short).write_timeout(ms(10)).connect_timeout(short);
    let events = numbers(config.retries(Retries::new(5).base(ms(100))).breaker_failures(0)).await;
    server.pause().unwrap();
    let error = events.check_and_mark(&1).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (EventsErrorKind::OutcomeUnknown, 1));
    server.resume().unwrap();
    // Whether it was marked nobody knows; a claim that stalls is asked for again, and is ours.
    let address = format!("127.0.0.1:{}", server.port());
    std::thread::spawn(move || {
        let mut raw = std::net::TcpStream::connect(address).unwrap();
        io::Write::write_all(&mut raw, b"DEBUG SLEEP 0.6\r\n").unwrap();
        std::thread::sleep(ms(800));
    });
    tokio::time::sleep(ms(50)).await;
    let claimed = events.claim(&2).await.unwrap();
    assert!(matches!(claimed, Claimed::New(_)), "{claimed:?}");
    assert!(events.stats().retry_count > 0, "it did stall");
    events.confirm(&claimed.claim().unwrap()).await.unwrap();
    assert!(events.is_duplicate(&2).await.unwrap());
}

#[tokio::test]
async fn a_server_that_is_away_fails_closed_and_comes_back_by_itself() {
    let mut server = RedisServer::builder().append_only(true).start().unwrap();
    let config = config(&server).window(Duration::from_secs(60));
    let events = numbers(config.retries(Retries::new(1).base(ms(20))).breaker_failures(0)).await;
    events.batch_mark_seen(&[1, 2, 3]).await.unwrap();
    let claim = events.claim(&4).await.unwrap().claim().unwrap();
    server.kill().unwrap();
    let error = events.is_duplicate(&1).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (EventsErrorKind::Unreachable, 2));
    assert!(events.claim(&9).await.is_err());
    assert!(events.confirm(&claim).await.is_err());
    server.restart().unwrap();
    events.confirm(&claim).await.unwrap();
    let seen = events.batch_check_duplicates(&[1, 2, 3, 4, 9]).await.unwrap();
    assert_eq!(seen, [true, true, true, true, false]);
}

/// Redis dies and comes back again and again while a layer works: nothing is lost, and nothing that was
/// confirmed is handled twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_restarted_in_the_middle_loses_nothing() {
    let mut server = RedisServer::builder().append_only(true).start().unwrap();
    let retries = Retries::new(2).base(ms(10)).cap(ms(50));
    let config = config(&server).window(Duration::from_secs(60)).lease(ms(150)).breaker_failures(0);
    let events = numbers(config.retries(retries)).await;
    let handled: Arc<Mutex<Vec<u64>>> = Arc::default();
    let effects = Arc::clone(&handled);
    let service = DedupLayer::new(events.clone()).layer(service_fn(move |number: u64| {
        effects.lock().unwrap().push(number);
        async { Ok::<_, Infallible>(()) }
    }));
    let next = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (service, next) = (service.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= 3000 {
                        break;
                    }
                    // As a broker does: again until it is acknowledged.
                    while service.clone().oneshot(number).await.is_err() {
                        tokio::time::sleep(ms(20)).await;
                    }
                }
            })
        })
        .collect();
    for _ in 0..3 {
        tokio::time::sleep(ms(150)).await;
        server.kill().unwrap();
        tokio::time::sleep(ms(60)).await;
        server.restart().unwrap();
    }
    for worker in workers {
        worker.await.unwrap();
    }
    let handled = handled.lock().unwrap();
    let distinct: BTreeSet<_> = handled.iter().copied().collect();
    assert_eq!(distinct.len(), 3000, "none is lost");
    let twice = handled.len() - distinct.len();
    let unconfirmed = usize::try_from(events.stats().unconfirmed).unwrap();
    assert!(twice <= unconfirmed, "{twice} handled twice and {unconfirmed} not confirmed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_find_each_event_new_once() {
    let server = RedisServer::start().unwrap();
    let children: Vec<_> =
        (0..2).map(|_| child("race", &server).stdout(Stdio::piped()).spawn().unwrap()).collect();
    let mut all = Vec::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let won: Vec<u64> =
            text.lines().filter_map(|line| line.strip_prefix("won ")?.parse().ok()).collect();
        assert!(text.contains("done"), "{text}");
        all.extend(won);
    }
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..20_000), "{} were new", all.len());
}

#[tokio::test]
async fn an_event_whose_process_was_killed_comes_back_after_its_lease() {
    let server = RedisServer::start().unwrap();
    let output = child("claim-and-die", &server).stderr(Stdio::null()).output().unwrap();
    assert!(!output.status.success(), "it was killed");
    let events = numbers(config(&server).lease(ms(400))).await;
    assert!(matches!(events.claim(&7).await.unwrap(), Claimed::InFlight));
    tokio::time::sleep(ms(450)).await;
    let claim = events.claim(&7).await.unwrap().claim().expect("the lease is over");
    events.confirm(&claim).await.unwrap();
    assert!(events.is_duplicate(&7).await.unwrap());
}

#[tokio::test]
async fn claims_that_nobody_ended_are_swept() {
    let server = RedisServer::start().unwrap();
    let events = numbers(config(&server).lease(ms(10))).await;
    let ids: Vec<u64> = (0..1000).collect();
    events.batch_claim(&ids).await.unwrap();
    for number in 0..14 {
        tokio::time::sleep(ms(500)).await;
        let _ = events.claim(&(5000 + number)).await.unwrap();
        let health = events.health_check().await.unwrap();
        if health.facts["claims"].parse::<u32>().unwrap() < 20 {
            return;
        }
    }
    panic!("they are still there: {:?}", events.health_check().await.unwrap().facts);
}

#[tokio::test]
async fn credentials_are_needed_and_enough() {
    let rules = "~ti:e:* +@read +@write +@scripting +ping +info +time";
    let server = RedisServer::builder().user("events", "hard:to@guess", rules).start().unwrap();
    let events = numbers(config(&server)).await;
    assert!(events.check_and_mark(&1).await.unwrap());
    let claim = events.claim(&2).await.unwrap().claim().unwrap();
    events.confirm(&claim).await.unwrap();
    assert!(events.health_check().await.unwrap().is_healthy());
    events.clear().await.unwrap();

    let wrong = format!("redis://events:wrong@127.0.0.1:{}", server.port());
    let config = config(&server).redis_url(wrong).build().unwrap();
    let error = EventDeduplicator::new(config, by_number()).await.unwrap_err();
    assert_eq!(error.kind(), EventsErrorKind::Refused, "{error:?}");
}

#[cfg(feature = "redis-tls")]
#[tokio::test]
async fn tls_is_spoken_and_the_certificate_checked() {
    let server = RedisServer::builder().tls(true).start().unwrap();
    assert!(server.url().starts_with("rediss://"));
    let trusted = config(&server).tls_ca(server.ca_file().unwrap());
    let events = numbers(trusted).await;
    assert!(events.check_and_mark(&1).await.unwrap());
    assert!(events.is_duplicate(&1).await.unwrap());
    let error =
        EventDeduplicator::new(config(&server).build().unwrap(), by_number()).await.unwrap_err();
    assert_eq!(error.kind(), EventsErrorKind::Unreachable, "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_shares_the_events() {
    let mut cluster = RedisCluster::start(3).unwrap();
    let hosts: Vec<_> =
        cluster.nodes().iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
    let config = || {
        DeduplicationConfig::builder()
            .redis_url(format!("redis-cluster://{}", hosts.join(",")))
            .window(Duration::from_secs(60))
            .retries(Retries::new(1).base(ms(20)))
            .breaker_failures(0)
    };
    let (one, other) = (numbers(config()).await, numbers(config()).await);
    let ids: Vec<u64> = (0..30_000).collect();
    let (a, b) = tokio::join!(one.batch_check_and_mark(&ids), other.batch_check_and_mark(&ids));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert!(a.iter().zip(&b).all(|(a, b)| a != b), "each is new once");
    assert!(one.filter(&ids).await.unwrap().is_empty());
    for node in cluster.nodes() {
        let keys: u64 = node.cli(&["DBSIZE"]).unwrap().trim().parse().unwrap();
        assert!(keys > 5, "a node with {keys} keys");
    }
    let claims = one.batch_claim(&[50_000, 50_001, 1]).await.unwrap();
    assert!(matches!(claims[..], [Claimed::New(_), Claimed::New(_), Claimed::Duplicate]));
    let claims: Vec<_> = claims.into_iter().filter_map(Claimed::claim).collect();
    assert_eq!(one.batch_confirm(&claims).await.unwrap(), [true, true]);
    let health = other.health_check().await.unwrap();
    assert!(health.is_healthy(), "{health:?}");
    assert_eq!(health.facts["masters"], "3");
    assert_eq!(health.facts["shards"], "24");

    // A node without a replica is away: what is on the others still answers.
    cluster.nodes_mut()[1].kill().unwrap();
    let error = one.batch_check_duplicates(&ids).await.unwrap_err();
    assert!(
        matches!(
            error.kind(),
            EventsErrorKind::Unreachable | EventsErrorKind::OutcomeUnknown | EventsErrorKind::Busy
        ),
        "{error:?}"
    );
    cluster.nodes_mut()[1].restart().unwrap();
    cluster.wait_until_ok().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while one.batch_check_duplicates(&ids).await.is_err() {
        assert!(Instant::now() < deadline, "it does not come back");
        tokio::time::sleep(ms(100)).await;
    }
    other.clear().await.unwrap();
    assert!(one.batch_check_duplicates(&ids).await.unwrap().iter().all(|seen| !*seen));
}

/// What is promised for a failover: marks that had not reached the replica may be missing, so an event
/// may be handled twice, and none is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_loses_no_event() {
    let mut master = RedisServer::start().unwrap();
    let replica = RedisServer::builder().replica_of(master.port()).start().unwrap();
    replica.wait_for_sync().unwrap();
    let sentinel = RedisSentinel::start("events", &master).unwrap();
    let url = format!("redis-sentinel://127.0.0.1:{}/events", sentinel.port());
    let events = numbers(
        DeduplicationConfig::builder()
            .redis_url(url)
            .window(Duration::from_secs(60))
            .lease(ms(300))
            .read_timeout(ms(300))
            .write_timeout(ms(100))
            .connect_timeout(ms(500))
            .retries(Retries::new(3).base(ms(50)).cap(ms(200)))
            .breaker_failures(0),
    )
    .await;
    let handled: Arc<Mutex<Vec<u64>>> = Arc::default();
    let effects = Arc::clone(&handled);
    let service = DedupLayer::new(events.clone()).layer(service_fn(move |number: u64| {
        effects.lock().unwrap().push(number);
        async { Ok::<_, Infallible>(()) }
    }));
    let port = master.port();
    let killer = tokio::task::spawn_blocking(move || {
        std::thread::sleep(ms(300));
        master.kill().unwrap();
        let new = sentinel.wait_for_failover_from(port).unwrap();
        (master, sentinel, new)
    });
    let failures = AtomicU32::new(0);
    let mut number = 0_u64;
    while !killer.is_finished() || number < 500 {
        while let Err(error) = service.clone().oneshot(number).await {
            failures.fetch_add(1, Ordering::Relaxed);
            assert!(failures.load(Ordering::Relaxed) < 5000, "{error}");
            tokio::time::sleep(ms(20)).await;
        }
        number += 1;
    }
    let (_master, _sentinel, new) = killer.await.unwrap();
    assert_eq!(new, replica.port());
    let distinct: BTreeSet<_> = handled.lock().unwrap().iter().copied().collect();
    assert!(distinct.iter().copied().eq(0..number), "{} of {number}", distinct.len());
    assert_eq!(
        service.oneshot(number - 1).await.unwrap(),
        Outcome::Duplicate,
        "the new one remembers"
    );
}

/// One shard of a batch has to begin anew, the other has marked its part: the batch is asked again for
/// the first only, or what the second marked would pass for seen and be handled by nobody.
#[tokio::test]
async fn a_batch_of_which_a_part_was_marked_is_not_marked_again() {
    let server = RedisServer::start().unwrap();
    let config = config(&server).shards(2).retries(0);
    let events = numbers(config).await;
    server.cli(&["HSET", "ti:e:{default.1}:m", "s", "of somebody who is gone"]).unwrap();
    let ids: Vec<u64> = (0..100).collect();
    let new = events.batch_check_and_mark(&ids).await.unwrap();
    assert!(new.iter().all(|new| *new), "{new:?}");
}

/// Whoever waits for a connection that somebody else is making hears with them that there is none,
/// instead of trying for as long again, one after the other.
#[tokio::test]
async fn all_that_wait_for_a_connection_hear_of_its_failure() {
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", deaf.local_addr().unwrap());
    let config = DeduplicationConfig::builder()
        .redis_url(url)
        .connect_timeout(ms(200))
        .retries(0)
        .breaker_failures(0)
        .failure_policy(FailurePolicy::Open);
    let events = numbers(config).await;
    let start = Instant::now();
    let calls = (0..20_u64).map(|id| {
        let events = events.clone();
        tokio::spawn(async move { events.is_duplicate(&id).await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    assert_eq!(events.stats().failed_open, 20);
    assert!(start.elapsed() < ms(1000), "{:?}", start.elapsed());
}

/// A failover to a replica that was a little behind: the table is there, a bucket is not. Whoever adds to
/// the bucket again gives it an end.
#[tokio::test]
async fn a_bucket_that_a_failover_took_away_ends_by_itself_again() {
    let server = RedisServer::start().unwrap();
    let events = numbers(config(&server).window(Duration::from_secs(60))).await;
    events.mark_seen(&1).await.unwrap();
    let bucket = bucket_of(&server);
    server.cli(&["DEL", &bucket]).unwrap();
    server.cli(&["CLIENT", "KILL", "TYPE", "normal"]).unwrap();
    events.mark_seen(&1).await.unwrap();
    assert!(ttl(&server, &bucket) > 0, "{}", ttl(&server, &bucket));
}

/// So does a bucket that was evicted, where that is allowed: without an end a policy for volatile keys
/// would never evict it again.
#[tokio::test]
async fn a_bucket_that_was_evicted_ends_by_itself_again() {
    let server = RedisServer::start().unwrap();
    let config = config(&server).window(Duration::from_secs(60)).allow_eviction(true);
    let events = numbers(config).await;
    events.mark_seen(&1).await.unwrap();
    let bucket = bucket_of(&server);
    server.cli(&["DEL", &bucket]).unwrap();
    events.mark_seen(&1).await.unwrap();
    assert!(ttl(&server, &bucket) > 0, "{}", ttl(&server, &bucket));
}

/// A table that is begun in the same millisecond as one that was cleared has another name.
#[tokio::test]
async fn what_is_marked_right_after_clearing_ends_by_itself() {
    let server = RedisServer::start().unwrap();
    let events = numbers(config(&server).window(Duration::from_secs(60))).await;
    for round in 0..200 {
        events.mark_seen(&1).await.unwrap();
        events.clear().await.unwrap();
        events.mark_seen(&1).await.unwrap();
        let bucket = bucket_of(&server);
        assert!(ttl(&server, &bucket) > 0, "round {round}");
        events.clear().await.unwrap();
    }
}

/// What counted a table goes with the table, at whatever moment the list is written.
#[tokio::test]
async fn counters_of_tables_that_are_over_do_not_stay() {
    let server = RedisServer::start().unwrap();
    let events = numbers(config(&server).window(Duration::from_secs(60))).await;
    events.mark_seen(&1).await.unwrap();
    let record = "ti:e:{default.0}:m";
    let tables = server.cli(&["HGET", record, "t"]).unwrap();
    let tables = format!("5:0:1000:2000:0;{}", tables.trim());
    server.cli(&["HSET", record, "t", &tables, "c5", "7"]).unwrap();
    let ids: Vec<u64> = (0..500).collect();
    events.batch_mark_seen(&ids).await.unwrap();
    assert!(!server.cli(&["HGET", record, "t"]).unwrap().contains("5:0:1000"));
    assert_eq!(server.cli(&["HEXISTS", record, "c5"]).unwrap().trim(), "0");
}

/// After a loss of everything, what is marked from then on stays for its window, whoever comes next.
#[tokio::test]
async fn what_is_marked_after_a_loss_of_everything_stays() {
    let server = RedisServer::start().unwrap();
    let config = || config(&server).window(Duration::from_secs(60));
    let one = numbers(config()).await;
    one.mark_seen(&1).await.unwrap();
    server.cli(&["FLUSHALL"]).unwrap();
    one.mark_seen(&2).await.unwrap();
    let claim = one.claim(&3).await.unwrap().claim().unwrap();
    one.confirm(&claim).await.unwrap();
    let other = numbers(config()).await;
    other.mark_seen(&4).await.unwrap();
    let seen = other.batch_check_duplicates(&[1, 2, 3, 4]).await.unwrap();
    assert_eq!(seen, [false, true, true, true]);
}

/// A server that takes no writes is not healthy, however well it answers.
#[tokio::test]
async fn a_server_that_takes_no_writes_is_not_healthy() {
    let master = RedisServer::start().unwrap();
    let replica = RedisServer::builder().replica_of(master.port()).start().unwrap();
    replica.wait_for_sync().unwrap();
    let config = config(&replica).failure_policy(FailurePolicy::Open).retries(0);
    let health = numbers(config).await.health_check().await.unwrap();
    assert!(!health.is_healthy(), "{health:?}");
}

/// A part of a cluster moves to another node, which says so; what the rest has marked is not asked for
/// again, because the answer would be that it was seen.
#[tokio::test]
async fn a_part_of_a_batch_that_has_to_wait_makes_no_duplicates_of_the_rest() {
    let cluster = RedisCluster::start(2).unwrap();
    let nodes = cluster.nodes();
    let url = format!("redis-cluster://127.0.0.1:{}", nodes[0].port());
    let retries = Retries::new(3).base(ms(100));
    let config = DeduplicationConfig::builder().redis_url(url).shards(2).retries(retries);
    let batch: Vec<u64> = (0..100).collect();
    // So that the scripts are known.
    let warm = numbers(config.clone().namespace("warm").shards(16)).await;
    warm.batch_check_and_mark(&batch).await.unwrap();
    let events = numbers(config).await;
    let slot = nodes[0].cli(&["CLUSTER", "KEYSLOT", "ti:e:{default.1}:m"]).unwrap();
    let names: Vec<_> = nodes.iter().map(|node| node.cli(&["CLUSTER", "MYID"]).unwrap()).collect();
    let moving = |at: usize| {
        nodes[at].cli(&["CLUSTER", "SETSLOT", slot.trim(), "MIGRATING", names[1 - at].trim()])
    };
    let owner = usize::from(moving(0).is_err());
    moving(owner).unwrap();
    let asked = tokio::spawn(async move { events.batch_check_and_mark(&batch).await });
    tokio::time::sleep(ms(60)).await;
    nodes[owner].cli(&["CLUSTER", "SETSLOT", slot.trim(), "STABLE"]).unwrap();
    // An error is an answer as well; that half of them were seen is none.
    let error = asked.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), EventsErrorKind::OutcomeUnknown, "{error:?}");
}

/// A clock that was years ahead for a moment leaves a table that ends in years. What is marked afterwards
/// does not stay as long.
#[tokio::test]
async fn a_clock_that_was_ahead_for_a_moment_keeps_nothing_for_years() {
    let server = RedisServer::start().unwrap();
    let events = numbers(config(&server).window(Duration::from_secs(60))).await;
    events.mark_seen(&1).await.unwrap();
    let bucket = bucket_of(&server);
    let record = "ti:e:{default.0}:m";
    let tables = server.cli(&["HGET", record, "t"]).unwrap();
    let ahead = format!("{}5999999999999000:0:60000:9999999999000:0;", tables.trim());
    server.cli(&["HSET", record, "t", &ahead]).unwrap();
    server.cli(&["DEL", &bucket]).unwrap();
    events.mark_seen(&2).await.unwrap();
    let last = ttl(&server, &bucket_of(&server));
    assert!((0..=120_000).contains(&last), "{last}");
    assert!(!events.check_and_mark(&2).await.unwrap());
}

/// What other tests start as a process of its own. Without the variables that say what to do, there is
/// nothing to do.
#[test]
fn child_process() {
    let (Ok(task), Ok(url)) = (env::var(TASK), env::var(URL)) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let config =
            DeduplicationConfig::builder().redis_url(url).lease(ms(400)).window(WINDOW * 60);
        let events = numbers(config).await;
        match &*task {
            "race" => {
                let mut won: Vec<u64> = Vec::new();
                let ids: Vec<u64> = (0..20_000).collect();
                for part in ids.chunks(70) {
                    let new = events.batch_check_and_mark(part).await.unwrap();
                    won.extend(part.iter().zip(new).filter_map(|(id, new)| new.then_some(*id)));
                }
                let lines: String = won.iter().map(|id| format!("won {id}\n")).collect();
                println!("\n{lines}done");
            }
            "claim-and-die" => {
                let _claim = events.claim(&7).await.unwrap().claim().unwrap();
                let us = std::process::id().to_string();
                Command::new("kill").args(["-KILL", &us]).status().unwrap();
                std::future::pending::<()>().await;
            }
            task => panic!("no task {task}"),
        }
    });
}

fn child(task: &str, server: &RedisServer) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["child_process", "--exact", "--nocapture"])
        .env(TASK, task)
        .env(URL, server.url());
    command
}

fn config(server: &RedisServer) -> DeduplicationConfigBuilder {
    DeduplicationConfig::builder().redis_url(server.url()).window(WINDOW * 10)
}

async fn numbers(config: DeduplicationConfigBuilder) -> EventDeduplicator<u64> {
    EventDeduplicator::new(config.build().unwrap(), by_number()).await.unwrap()
}

fn bucket_of(server: &RedisServer) -> String {
    let keys = server.cli(&["KEYS", "ti:e:{default.0}:[0-9]*"]).unwrap();
    keys.lines().next().unwrap().trim().to_owned()
}

fn ttl(server: &RedisServer, key: &str) -> i64 {
    server.cli(&["PTTL", key]).unwrap().trim().parse().unwrap()
}

fn by_number() -> EventIdExtractor<u64> {
    EventIdExtractor::hash(|number: &u64| *number)
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const WINDOW: Duration = Duration::from_secs(1);
const TASK: &str = "TOWER_INBOX_TEST_TASK";
const URL: &str = "TOWER_INBOX_TEST_URL";
