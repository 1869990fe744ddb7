//! `events` with PostgreSQL as the store.
//!
//! Each test has a server of its own.
#![cfg(feature = "postgres")]

mod scene;

use std::{process::Stdio, thread::sleep, time::Duration};

use scene::{Chance, Checked, Ran, Scene, in_order, lines, orders, times};
use tower_inbox_servers::PostgresServer;

#[test]
fn after_a_migration_it_is_a_store_like_any_other() {
    let (scene, server) = scene(orders(1000, 100));
    let url = server.url("events");
    let check = check(&url, &[]);
    let check: Vec<&str> = check.iter().map(String::as_str).collect();
    scene.run(&check).failed(1, &["what to do: run `tower-inbox migrate --database`"]);
    let health = scene.run(&["events", "health", "--store", &url]);
    assert_eq!(health.code, Some(1), "{health:?}");
    assert!(health.stdout.contains("tower-inbox migrate"), "{health:?}");

    scene.run(&["migrate", "--database", &url]).succeeded();
    let health = scene.run(&["events", "health", "--store", &url]).succeeded();
    assert!(health.stdout.contains("healthy"), "{health:?}");
    let first = scene.run(&check).succeeded();
    assert_eq!((lines(&first.stdout).len(), Checked::of(&first).new), (1000, 1000));
    let second = scene.run(&check).succeeded();
    assert_eq!((&*second.stdout, Checked::of(&second).duplicates), ("", 1100));

    let stats = scene.run(&["events", "stats", "--store", &url, "--format", "json"]).json();
    assert!(!stats["facts"].as_object().unwrap().is_empty(), "{stats}");
    scene.run(&["events", "clear", "--store", &url, "--yes"]).succeeded();
    assert_eq!(Checked::of(&scene.run(&check).succeeded()).new, 1000);
}

#[test]
fn side_by_side_and_killed_no_line_is_missing() {
    let (scene, server) = scene(orders(5000, 500));
    let url = server.url("events");
    scene.run(&["migrate", "--database", &url]).succeeded();
    let runs = ["dead1", "dead2"].map(|dead| {
        let check = check(&url, &["--dead-letters", dead]);
        let check: Vec<&str> = check.iter().map(String::as_str).collect();
        let child = scene.spawn(&check, Stdio::null());
        std::thread::spawn(move || Ran::from(child.wait_with_output().unwrap()))
    });
    let runs = runs.map(|run| run.join().unwrap().succeeded());
    let mut all = Vec::new();
    for ran in &runs {
        assert!(in_order(&ran.stdout, &orders(5000, 500)));
        all.extend(lines(&ran.stdout));
    }
    assert_eq!((all.len(), times(&all).len()), (5000, 5000));

    let check = check(&url, &["--namespace", "killed", "--lease", "1s"]);
    let check: Vec<&str> = check.iter().map(String::as_str).collect();
    let mut chance = Chance::new(7);
    for n in 1..=4 {
        let out =
            std::fs::File::options().append(true).create(true).open(scene.path("out")).unwrap();
        let mut child = scene.command(&check).stdout(out).stderr(Stdio::null()).spawn().unwrap();
        sleep(Duration::from_millis(20 + chance.below(50 * n)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut all = lines(&scene.read("out"));
    all.extend(lines(&scene.run(&check).succeeded().stdout));
    assert_eq!(times(&all).len(), 5000, "lines are missing");
}

#[test]
fn a_wrong_url_is_wrong_usage_and_its_password_is_not_printed() {
    let scene = Scene::new();
    for url in ["postgres://u:secret@h:port/d", "postgres://u:secret@[h/d"] {
        let ran = scene.run(&["events", "stats", "--store", url]);
        ran.failed(2, &["--store postgres://u:***@", "this URL cannot be read", "%40 for an @"]);
        assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
    }
    let ran = scene.run(&["events", "stats", "--store", "postgres://u:secret@127.0.0.1:1/d"]);
    ran.failed(1, &["what to do: check that --store names the right place"]);
    assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
}

/// A scene with a stream in the file `in`, and a server with an empty database.
fn scene(stream: String) -> (Scene, PostgresServer) {
    let scene = Scene::new();
    scene.write("in", stream);
    let server = PostgresServer::start().unwrap();
    server.create_database("events").unwrap();
    (scene, server)
}

fn check(url: &str, more: &[&str]) -> Vec<String> {
    let all = ["events", "check", "--id", "order_id", "--input", "in", "--store", url];
    let all = all.into_iter().chain(["--format", "json"]).chain(more.iter().copied());
    all.map(str::to_owned).collect()
}
