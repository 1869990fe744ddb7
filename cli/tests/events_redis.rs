//! `events` on a Redis server: over several runs, side by side, and when something breaks.
#![cfg(feature = "redis")]

mod scene;

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdout, Stdio},
    thread::{JoinHandle, sleep, spawn},
    time::{Duration, Instant},
};

use scene::{Chance, Checked, Ran, Scene, in_order, lines, order, orders, send, times};
use tower_inbox_servers::{RedisCluster, RedisSentinel, RedisServer};

#[test]
fn a_second_run_prints_nothing() {
    let (scene, redis) = scene(orders(1000, 100));
    for more in [
        &[][..],
        &["--namespace", "exact", "--exact-ids"],
        &["--namespace", "at-most-once", "--at-most-once"],
    ] {
        let check = check(&redis, more);
        let first = scene.run(&refs(&check)).succeeded();
        assert_eq!(lines(&first.stdout).len(), 1000, "{more:?}");
        let second = scene.run(&refs(&check)).succeeded();
        assert_eq!(second.stdout, "", "{more:?}");
        let checked = Checked::of(&second);
        assert_eq!((checked.delivered, checked.duplicates), (1100, 1100), "{more:?}");
    }
}

#[test]
fn side_by_side_each_line_is_printed_once() {
    let (scene, redis) = scene(orders(5000, 500));
    for (n, more) in [&[][..], &["--at-most-once"]].into_iter().enumerate() {
        let namespace = n.to_string();
        let runs: Vec<_> = ["dead1", "dead2"]
            .into_iter()
            .map(|dead| {
                let own = ["--namespace", &namespace, "--dead-letters", dead];
                let check = check(&redis, &[more, &own].concat());
                let child = scene.spawn(&refs(&check), Stdio::null());
                spawn(move || Ran::from(child.wait_with_output().unwrap()))
            })
            .collect();
        let ran: Vec<Ran> = runs.into_iter().map(|run| run.join().unwrap().succeeded()).collect();
        let checked: Vec<Checked> = ran.iter().map(Checked::of).collect();
        assert_eq!(checked[0].new + checked[1].new, 5000, "{checked:?}");
        let mut all = lines(&ran[0].stdout);
        all.extend(lines(&ran[1].stdout));
        assert_eq!(all.len(), 5000, "{more:?}");
        assert_eq!(times(&all).len(), 5000, "{more:?}");
        for ran in &ran {
            assert!(in_order(&ran.stdout, &orders(5000, 500)), "{more:?}");
        }
    }
}

#[test]
fn killed_and_started_again_no_line_is_missing() {
    let count = 30_000;
    let (scene, redis) = scene(orders(count, 3000));
    let check = check(&redis, &["--lease", "1s"]);
    let mut chance = Chance::new(7);
    let mut killed = 0;
    for n in 1..=6 {
        let out = File::options().append(true).create(true).open(scene.path("out")).unwrap();
        let mut command = scene.command(&refs(&check));
        let mut child = command.stdout(out).stderr(Stdio::null()).spawn().unwrap();
        sleep(Duration::from_millis(20 + chance.below(40 * n)));
        child.kill().unwrap();
        killed += usize::from(!child.wait().unwrap().success());
    }
    assert!(killed >= 2, "only {killed} runs were killed on the way");
    let last = scene.run(&refs(&check)).succeeded();
    assert_eq!(Checked::of(&last).delivered, count + 3000);
    let mut all = lines(&scene.read("out"));
    all.extend(lines(&last.stdout));
    let all = times(&all);
    assert_eq!(all.len() as u64, count, "lines are missing");
    // What was printed and not confirmed at a kill comes again, and nothing else.
    let again: usize = all.values().map(|times| times - 1).sum();
    assert!(again <= 512 * killed, "{again} lines came again after {killed} kills");
}

#[test]
fn killed_with_lines_that_nobody_took_they_come_again() {
    let (scene, redis) = scene(orders(5000, 0));
    let check = check(&redis, &["--lease", "1s"]);
    let (mut child, mut stdout, mut taken) = stuck(&scene, &check);
    child.kill().unwrap();
    stdout.read_to_string(&mut taken).unwrap();
    child.wait().unwrap();
    assert!(taken.ends_with('\n'), "half a line was left behind");
    let rest = scene.run(&refs(&check)).succeeded();
    let mut all = lines(&taken);
    assert!((1..5000).contains(&all.len()), "{}", all.len());
    all.extend(lines(&rest.stdout));
    assert_eq!(times(&all).len(), 5000);
}

#[test]
fn what_another_run_has_claimed_is_waited_for_in_order() {
    let (scene, redis) = scene(orders(3000, 0));
    let long = check(&redis, &["--lease", "5m"]);
    let (mut slow, slow_stdout, mut first) = stuck(&scene, &long);
    let dead = ["--dead-letters", "dead", "--lease", "5m"];
    let mut waiting = scene.spawn(&refs(&check(&redis, &dead)), Stdio::null());
    let mut note = String::new();
    let mut stderr = BufReader::new(waiting.stderr.take().unwrap());
    stderr.read_line(&mut note).unwrap();
    assert!(note.contains("is with another run"), "{note}");
    assert_eq!(waiting.try_wait().unwrap(), None);

    // Now somebody reads what the first one prints.
    let waited = read(waiting.stdout.take().unwrap());
    let rest = read(slow_stdout);
    assert!(slow.wait().unwrap().success());
    assert!(waiting.wait().unwrap().success());
    first += &rest.join().unwrap();
    let waited = waited.join().unwrap();
    let mut all = lines(&first);
    all.extend(lines(&waited));
    assert_eq!((all.len(), times(&all).len()), (3000, 3000));
    assert!(in_order(&waited, &orders(3000, 0)));
}

#[test]
fn a_signal_confirms_what_was_printed_and_releases_the_rest() {
    let (scene, redis) = scene(orders(5000, 0));
    let long = check(&redis, &["--lease", "10m"]);
    let (mut child, mut stdout, taken) = stuck(&scene, &long);
    // Nobody takes the piece under way, so it has to be said twice.
    send(&child, "TERM");
    sleep(Duration::from_millis(300));
    send(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let mut ran = Ran { code: Some(1), stdout: taken, stderr: String::new() };
    stdout.read_to_string(&mut ran.stdout).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut ran.stderr).unwrap();
    ran.failed(1, &["stopped by a signal"]);
    let printed = lines(&ran.stdout);
    assert_eq!(Checked::of(&ran).new, printed.len() as u64);

    // Nothing waits for a lease.
    let start = Instant::now();
    let rest = scene.run(&refs(&long)).succeeded();
    assert!(start.elapsed() < Duration::from_secs(60));
    let mut all = printed;
    all.extend(lines(&rest.stdout));
    assert_eq!((all.len(), times(&all).len()), (5000, 5000));
}

#[test]
fn a_reader_that_is_slower_than_the_lease_gets_each_line() {
    let (scene, redis) = scene(orders(3000, 0));
    let mut child = scene.spawn(&refs(&check(&redis, &["--lease", "100ms"])), Stdio::null());
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let mut all = Vec::new();
    for (n, line) in stdout.lines().enumerate() {
        all.push(line.unwrap());
        if n % 100 == 0 {
            sleep(Duration::from_millis(50));
        }
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(all.join("\n") + "\n", orders(3000, 0));
}

#[test]
fn a_server_that_is_gone_stops_the_run_with_advice() {
    let (scene, mut redis) = scene(String::new());
    let mut child = scene.spawn(
        &["events", "check", "--id", "order_id", "--store", &redis.url(), "--format", "json"],
        Stdio::piped(),
    );
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    writeln!(stdin, "{}", order(1)).unwrap();
    stdout.read_line(&mut String::new()).unwrap();
    // Its confirmation comes after it.
    sleep(Duration::from_millis(500));
    redis.stop().unwrap();
    writeln!(stdin, "{}", order(2)).unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    let ran: Ran = child.wait_with_output().unwrap().into();
    ran.failed(1, &["error: redis://", "what to do:"]);
    assert_eq!((Checked::of(&ran).new, &*rest), (1, ""));

    // From the beginning, too.
    let check = check(&redis, &[]);
    scene.run(&refs(&check)).failed(1, &["could not be reached", "what to do: check that --store"]);
    let health = scene.run(&["events", "health", "--store", &redis.url()]);
    assert_eq!(health.code, Some(1), "{health:?}");
    assert!(health.stdout.contains("could not be reached"), "{health:?}");
}

#[test]
fn with_fail_open_lines_pass_while_the_server_is_gone() {
    let (scene, mut redis) = scene(orders(1000, 0));
    let check = check(&redis, &["--fail-open"]);
    redis.stop().unwrap();
    let ran = scene.run(&refs(&check)).succeeded();
    assert_eq!(ran.stdout, orders(1000, 0));
    let checked = Checked::of(&ran);
    assert_eq!((checked.new, checked.unchecked, checked.unconfirmed), (1000, 1000, 1000));
}

#[test]
fn a_wrong_url_is_wrong_usage() {
    let scene = Scene::new();
    for url in ["redis://:secret@host:port/", "redis://:secret@h/not-a-number", "redis-cluster://"]
    {
        let ran = scene.run(&["events", "stats", "--store", url]);
        ran.failed(2, &["error: "]);
        assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
    }
}

#[test]
fn a_password_is_never_printed() {
    let scene = Scene::new();
    let mut redis = RedisServer::builder().password("open-sesame").start().unwrap();
    let url = redis.url();
    assert!(url.contains("open-sesame"));
    let verbs = [&["stats"][..], &["health"], &["clear", "--yes"], &["check", "--id", "."]];
    for verb in verbs {
        let ran = scene.run(&[&["events"], verb, &["--store", &url]].concat()).succeeded();
        assert!(!format!("{ran:?}").contains("sesame"), "{ran:?}");
    }
    let wrong = url.replace("sesame", "barley");
    let ran = scene.run(&["events", "stats", "--store", &wrong]);
    ran.failed(1, &["what to do:"]);
    assert!(!ran.stderr.contains("barley"), "{}", ran.stderr);
    redis.stop().unwrap();
    for verb in verbs {
        let ran = scene.run(&[&["events"], verb, &["--store", &url]].concat());
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(!format!("{ran:?}").contains("sesame"), "{ran:?}");
    }
}

#[test]
fn a_server_that_forgets_is_not_healthy_and_not_used() {
    let (scene, redis) = scene(orders(5, 0));
    scene.run(&["events", "health", "--store", &redis.url()]).succeeded();
    redis.cli(&["config", "set", "maxmemory-policy", "allkeys-lru"]).unwrap();
    redis.cli(&["config", "set", "maxmemory", "100mb"]).unwrap();
    let health = scene.run(&["events", "health", "--store", &redis.url()]);
    assert_eq!(health.code, Some(1), "{health:?}");
    assert!(health.stdout.contains("allkeys-lru"), "{health:?}");
    assert!(health.stdout.contains("noeviction"), "{health:?}");
    let health = scene.run(&["events", "health", "--store", &redis.url(), "--format", "json"]);
    let report: serde_json::Value = serde_json::from_str(&health.stdout).unwrap();
    assert_eq!((health.code, &report["healthy"]), (Some(1), &false.into()));
    assert_eq!(report["problems"].as_array().unwrap().len(), 1, "{report}");

    let ran = scene.run(&refs(&check(&redis, &[])));
    ran.failed(1, &["allkeys-lru", "what to do:"]);
    assert_eq!(ran.stdout, "");
}

#[test]
fn what_was_cleared_is_new_again() {
    let (scene, redis) = scene(orders(300, 0));
    let both = ["one", "other"].map(|name| check(&redis, &["--namespace", name]));
    for check in &both {
        assert_eq!(Checked::of(&scene.run(&refs(check)).succeeded()).new, 300);
    }
    let url = redis.url();
    let clear = ["events", "clear", "--store", &url, "--namespace", "one"];
    scene.run(&clear).failed(2, &["--yes"]);
    scene.run(&[&clear[..], &["--dry-run"]].concat()).succeeded();
    assert_eq!(Checked::of(&scene.run(&refs(&both[0])).succeeded()).new, 0);
    scene.run(&[&clear[..], &["--yes"]].concat()).succeeded();
    assert_eq!(Checked::of(&scene.run(&refs(&both[0])).succeeded()).new, 300);
    assert_eq!(Checked::of(&scene.run(&refs(&both[1])).succeeded()).new, 0);
}

#[test]
fn verbs_that_look_want_the_ids_that_the_namespace_has() {
    let (scene, redis) = scene(orders(10, 0));
    scene.run(&refs(&check(&redis, &["--exact-ids"]))).succeeded();
    let url = redis.url();
    for verb in [&["stats"][..], &["health"], &["clear", "--yes"]] {
        let args = [&["events"], verb, &["--store", &url]].concat();
        scene.run(&args).failed(2, &["the namespace has exact ids", "what to do:"]);
        scene.run(&[&args[..], &["--exact-ids"]].concat()).succeeded();
    }
}

#[test]
fn stats_are_there_for_people_and_for_programs() {
    let (scene, redis) = scene(orders(10, 0));
    scene.run(&refs(&check(&redis, &[]))).succeeded();
    let url = redis.url();
    let stats = scene.run(&["events", "stats", "--store", &url, "--format", "json"]).json();
    assert_eq!((&stats["store"], &stats["namespace"]), (&url.into(), &"default".into()));
    assert!(!stats["facts"].as_object().unwrap().is_empty(), "{stats}");
    let url = redis.url();
    let text = scene.run(&["events", "stats", "--store", &url]).succeeded().stdout;
    assert!(text.contains("healthy") && text.contains("namespace default"), "{text}");
}

#[test]
fn a_cluster_and_the_master_of_sentinels_are_stores_like_any_other() {
    let scene = Scene::new();
    scene.write("in", orders(2000, 200));
    let cluster = RedisCluster::start(3).unwrap();
    let hosts = cluster.urls().join(",").replace("redis://", "");
    let master = RedisServer::start().unwrap();
    let sentinel = RedisSentinel::start("shop", &master).unwrap();
    let sentinels = sentinel.url().replace("redis://", "");
    for store in [format!("redis-cluster://{hosts}"), format!("redis-sentinel://{sentinels}/shop")]
    {
        let check = ["events", "check", "--id", "order_id", "--input", "in", "--store", &store];
        let check = [&check[..], &["--format", "json"]].concat();
        let first = scene.run(&check).succeeded();
        assert_eq!((lines(&first.stdout).len(), Checked::of(&first).new), (2000, 2000), "{store}");
        let second = scene.run(&check).succeeded();
        assert_eq!(Checked::of(&second).duplicates, 2200, "{store}");
        scene.run(&["events", "health", "--store", &store]).succeeded();
        scene.run(&["events", "clear", "--yes", "--store", &store]).succeeded();
        assert_eq!(Checked::of(&scene.run(&check).succeeded()).new, 2000, "{store}");
    }
}

#[test]
#[cfg(feature = "redis-tls")]
fn a_server_behind_tls_is_reached_with_the_authority_of_the_file() {
    let (scene, plain) = scene(orders(5, 0));
    drop(plain);
    let redis = RedisServer::builder().tls(true).start().unwrap();
    // Nobody else knows this authority.
    let ran = scene.run(&refs(&check(&redis, &[])));
    ran.failed(1, &["what to do:"]);
    let authority = redis.ca_file().unwrap().display();
    scene.write("tower-inbox.toml", format!("[events]\ntls-ca = '{authority}'\n"));
    assert_eq!(Checked::of(&scene.run(&refs(&check(&redis, &[]))).succeeded()).new, 5);
}

/// A scene with a stream in the file `in`, and a server.
fn scene(stream: String) -> (Scene, RedisServer) {
    let scene = Scene::new();
    scene.write("in", stream);
    (scene, RedisServer::start().unwrap())
}

fn check(redis: &RedisServer, more: &[&str]) -> Vec<String> {
    let url = redis.url();
    let all = ["events", "check", "--id", "order_id", "--input", "in", "--store", &url];
    let all = all.into_iter().chain(["--format", "json"]).chain(more.iter().copied());
    all.map(str::to_owned).collect()
}

fn refs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// A run that goes no further, because the pipe is full and nobody reads on; and what was read.
fn stuck(scene: &Scene, check: &[String]) -> (Child, BufReader<ChildStdout>, String) {
    let mut child = scene.spawn(&refs(check), Stdio::null());
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    sleep(Duration::from_secs(1));
    (child, stdout, first)
}

fn read(mut stdout: impl Read + Send + 'static) -> JoinHandle<String> {
    spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        text
    })
}
