//! `consume --exec`: each message to a program, under a lease.
#![cfg(feature = "sqlite")]

mod scene;

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use scene::{Scene, distinct, order, orders, wait_for};

fn exec<'a>(command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["consume", "--key", "order_id", "--format", "json", "--exec", command], more].concat()
}

#[test]
fn each_message_goes_to_the_command_once() {
    let scene = Scene::new();
    let stream = orders(40, 10);
    let report = scene.run_with_input(&exec("cat >> out", &[]), &stream).succeeded().report();
    assert_eq!((report.handled, report.duplicates), (40, 10));
    let lines: Vec<String> = scene.read("out").lines().map(str::to_owned).collect();
    assert_eq!((lines.len(), distinct(&lines).len()), (40, 40));

    let again = scene.run_with_input(&exec("cat >> out", &[]), &stream).succeeded().report();
    assert_eq!((again.handled, again.duplicates), (0, 50));
    assert_eq!(scene.read("out").lines().count(), 40);
}

#[test]
fn the_command_learns_key_token_attempt_and_line() {
    let scene = Scene::new();
    let command = "echo $TOWER_INBOX_MESSAGE_KEY $TOWER_INBOX_TOKEN $TOWER_INBOX_ATTEMPT \
                   $TOWER_INBOX_LINE >> out; exit ${CODE:-0}";
    let mut failing = scene.command(&exec(command, &[]));
    scene.write("in", format!("\n{}\n", order(1)));
    let input = || Stdio::from(std::fs::File::open(scene.path("in")).unwrap());
    failing.stdin(input()).env("CODE", "3");
    assert!(failing.status().unwrap().success());
    assert!(scene.command(&exec(command, &[])).stdin(input()).status().unwrap().success());

    let out = scene.read("out");
    let runs: Vec<Vec<&str>> = out.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(runs.len(), 2);
    assert_eq!(runs[0][0].len(), 36);
    assert_eq!(runs[0][0], runs[1][0]);
    assert!(runs[0][1].parse::<u64>().unwrap() < runs[1][1].parse::<u64>().unwrap());
    assert_eq!((runs[0][2], runs[1][2]), ("1", "2"));
    assert_eq!((runs[0][3], runs[1][3]), ("2", "2"));
}

#[test]
fn a_failing_command_releases_its_message() {
    let scene = Scene::new();
    // Order 3 and 13 fail as long as the file `bad` is there.
    let command = r#"read -r line; case $line in *'_id":3,'*|*'_id":13,'*) test ! -e bad;; esac"#;
    scene.write("bad", "");
    let ran = scene.run_with_input(&exec(command, &[]), orders(20, 0)).succeeded();
    let report = ran.report();
    assert_eq!((report.handled, report.failed), (18, 2));
    assert!(ran.stderr.contains("line 4 failed: the command ended with exit status: 1"), "{ran:?}");
    assert!(ran.stderr.contains("2 failed: run the same command again"), "{ran:?}");

    std::fs::remove_file(scene.path("bad")).unwrap();
    let again = scene.run_with_input(&exec(command, &[]), orders(20, 0)).succeeded().report();
    assert_eq!((again.handled, again.duplicates), (2, 18));
}

#[test]
fn a_command_killed_by_a_signal_failed() {
    let scene = Scene::new();
    let ran = scene.run_with_input(&exec("kill -9 $$", &[]), orders(1, 0)).succeeded();
    assert_eq!(ran.report().failed, 1);
    assert!(ran.stderr.contains("signal: 9"), "{}", ran.stderr);
}

#[test]
fn a_command_need_not_read_its_input() {
    let scene = Scene::new();
    // More than a pipe holds.
    let line = format!("{{\"order_id\":1,\"x\":\"{}\"}}\n", "y".repeat(1 << 20));
    let report = scene.run_with_input(&exec("true", &[]), &line).succeeded().report();
    assert_eq!(report.handled, 1);

    // One that leaves somebody behind who holds the pipe and never reads it.
    let started = Instant::now();
    let other = line.replace(":1,", ":2,");
    let report =
        scene.run_with_input(&exec("sleep 8 >&- 2>&- & true", &[]), &other).succeeded().report();
    assert_eq!(report.handled, 1);
    assert!(started.elapsed() < Duration::from_secs(6));
}

#[test]
fn what_the_command_prints_goes_to_standard_error() {
    let scene = Scene::new();
    let ran = scene.run_with_input(&exec("echo hello", &[]), orders(2, 0)).succeeded();
    assert_eq!(ran.stdout.lines().count(), 1);
    assert_eq!(ran.stderr.matches("hello").count(), 2);
}

#[test]
fn a_slow_command_keeps_its_lease() {
    let scene = Scene::new();
    let slow = exec("cat >> out; sleep 4", &["--lease", "1s"]);
    let first = scene.spawn(&slow, Stdio::piped());
    std::io::Write::write_all(&mut first.stdin.as_ref().unwrap(), order(1).as_bytes()).unwrap();
    let mut first = first;
    drop(first.stdin.take());
    wait_for(|| scene.path("out").exists());

    // Three leases long; another run does not get it, and at last sees it handled.
    let patient = exec("cat >> out", &["--lease", "1s", "--in-flight-wait", "20s"]);
    let other = scene.run_with_input(&patient, order(1)).succeeded().report();
    assert_eq!((other.handled, other.duplicates), (0, 1));
    let first: scene::Ran = first.wait_with_output().unwrap().into();
    assert_eq!(first.succeeded().report().handled, 1);
    assert_eq!(scene.read("out").lines().count(), 1);
}

#[test]
fn what_another_run_is_handling_is_in_flight() {
    let scene = Scene::new();
    let mut first = scene.spawn(&exec("touch begun; sleep 5", &[]), Stdio::piped());
    std::io::Write::write_all(&mut first.stdin.take().unwrap(), order(1).as_bytes()).unwrap();
    wait_for(|| scene.path("begun").exists());

    let args = exec("true", &["--in-flight-wait", "300ms"]);
    let ran = scene.run_with_input(&args, orders(3, 0)).succeeded();
    let report = ran.report();
    assert_eq!((report.handled, report.in_flight), (2, 1));
    assert!(ran.stderr.contains("1 still being handled elsewhere"), "{}", ran.stderr);
    let status = scene.run(&["status", "--format", "json"]).succeeded();
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(status["consumers"][0]["in_flight"], 1);
    assert_eq!(status["consumers"][0]["live"], 2);
    first.wait().unwrap();
}

#[test]
fn workers_run_commands_at_once() {
    let scene = Scene::new();
    let started = Instant::now();
    let report = scene
        .run_with_input(&exec("sleep 1", &["--workers", "10"]), orders(10, 0))
        .succeeded()
        .report();
    assert_eq!(report.handled, 10);
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
}

#[test]
fn the_same_message_twice_at_once_is_handled_once() {
    let scene = Scene::new();
    let stream = format!("{}\n", order(1)).repeat(8);
    let args = exec("cat >> out; sleep 0.3", &["--workers", "8"]);
    let report = scene.run_with_input(&args, stream).succeeded().report();
    assert_eq!((report.handled, report.duplicates), (1, 7));
    assert_eq!(scene.read("out").lines().count(), 1);
}
