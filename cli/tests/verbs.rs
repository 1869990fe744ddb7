//! `migrate`, `status`, `inbox purge`, `completions` and help.
#![cfg(feature = "sqlite")]

mod scene;

use std::{thread::sleep, time::Duration};

use scene::{Ran, Scene, orders};
use serde_json::{Value, json};
use tower_inbox::schema::VERSION;

fn json(ran: Ran) -> Value {
    serde_json::from_str(&ran.succeeded().stdout).unwrap()
}

#[test]
fn migrate_goes_up_once_and_down_when_told_so() {
    let scene = Scene::new();
    let migrate = |more: &[&str]| scene.run(&[&["migrate", "--format", "json"], more].concat());
    let database = "sqlite://tower-inbox.db";
    assert_eq!(json(migrate(&[])), json!({"database": database, "before": null, "after": VERSION}));
    assert_eq!(
        json(migrate(&[])),
        json!({"database": database, "before": VERSION, "after": VERSION})
    );
    migrate(&["--down", "0"]).failed(2, &["loses every claim", "add --yes"]);
    assert_eq!(
        json(migrate(&["--down", "0", "--yes"])),
        json!({"database": database, "before": VERSION, "after": null})
    );
    let left = scene.sql("tower-inbox.db", "select name from sqlite_schema");
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(json(migrate(&[]))["after"], VERSION);
}

#[test]
fn migrate_says_what_it_did() {
    let scene = Scene::new();
    let first = scene.run(&["migrate"]).succeeded();
    let went = format!("inbox tables went from version none to {VERSION}\n");
    assert_eq!(first.stdout, format!("sqlite://tower-inbox.db: {went}"));
    let second = scene.run(&["migrate"]).succeeded();
    let have = format!("inbox tables have version {VERSION} already\n");
    assert_eq!(second.stdout, format!("sqlite://tower-inbox.db: {have}"));
}

#[test]
fn the_printed_script_does_what_migrate_does() {
    let scene = Scene::new();
    let script = scene.run(&["migrate", "--print"]).succeeded().stdout;
    assert!(!scene.path("tower-inbox.db").exists());
    scene.script("tower-inbox.db", &script);
    assert_eq!(json(scene.run(&["migrate", "--format", "json"]))["before"], VERSION);
    scene.run_with_input(&["consume", "--key", "order_id"], orders(3, 0)).succeeded();

    let script = scene.run(&["migrate", "--print", "--down", "0"]).succeeded().stdout;
    scene.script("tower-inbox.db", &script);
    assert_eq!(scene.sql("tower-inbox.db", "select name from sqlite_schema"), ["messages"]);
}

#[test]
fn status_shows_version_consumers_and_claims() {
    let scene = Scene::new();
    scene.run(&["status"]).failed(1, &["there is no SQLite file tower-inbox.db"]);
    assert!(!scene.path("tower-inbox.db").exists());

    scene.sql("tower-inbox.db", "create table other (x)");
    let ran = scene.run(&["status"]).succeeded();
    assert!(ran.stdout.contains("schema    none: run `tower-inbox migrate`"), "{ran:?}");

    let consume = |consumer: &str, window: &str, count| {
        let args = ["consume", "--key", "order_id", "--consumer", consumer, "--window", window];
        scene.run_with_input(&args, orders(count, 0)).succeeded();
    };
    consume("short", "1s", 4);
    consume("billing", "7days", 3);
    sleep(Duration::from_millis(3100));
    let status = json(scene.run(&["status", "--format", "ndjson"]));
    assert_eq!((&status["schema"], &status["expected"]), (&json!(VERSION), &json!(VERSION)));
    assert_eq!(
        status["consumers"],
        json!([
            {
                "name": "billing", "window_seconds": 604_800, "live": 3, "in_flight": 0,
                "expired": 0, "dead_letters": 0, "requeued": 0,
            },
            {
                "name": "short", "window_seconds": 1, "live": 0, "in_flight": 0, "expired": 4,
                "dead_letters": 0, "requeued": 0,
            },
        ])
    );
    let text = scene.run(&["status"]).succeeded().stdout;
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        rows[3],
        ["consumer", "window", "live", "in", "flight", "expired", "dead", "requeued"]
    );
    assert_eq!(rows[4], ["billing", "7days", "3", "0", "0", "0", "0"]);
    assert_eq!(rows[5], ["short", "1s", "0", "0", "4", "0", "0"]);

    // Looking needs no right to write.
    json(scene.run(&[
        "status",
        "--format",
        "json",
        "--database",
        "sqlite://tower-inbox.db?mode=ro",
    ]));
}

#[test]
fn purge_removes_what_is_over() {
    let scene = Scene::new();
    let consume = ["consume", "--key", "order_id", "--window"];
    scene
        .run_with_input(&[&consume[..], &["1s", "--consumer", "short"]].concat(), orders(4, 0))
        .succeeded();
    scene.run_with_input(&[&consume[..], &["1h"]].concat(), orders(3, 0)).succeeded();
    sleep(Duration::from_millis(3100));

    let dry = json(scene.run(&["inbox", "purge", "--dry-run", "--format", "json"]));
    assert_eq!(dry, json!({"expired": 4, "removed": 0, "dry_run": true}));
    let purge = json(scene.run(&["inbox", "purge", "--format", "json"]));
    assert_eq!(purge, json!({"expired": 4, "removed": 4, "dry_run": false}));
    let again = scene.run(&["inbox", "purge"]).succeeded();
    assert_eq!(again.stdout, "0 expired claims removed\n");
    let left = scene.sql("tower-inbox.db", "select count(*) || '' from tower_inbox_inbox");
    assert_eq!(left, ["3"]);
}

#[test]
fn purge_needs_the_tables() {
    let scene = Scene::new();
    scene.sql("tower-inbox.db", "create table other (x)");
    scene.run(&["inbox", "purge"]).failed(1, &["the inbox tables are not there"]);
}

#[test]
fn consume_sweeps_in_the_background() {
    let scene = Scene::new();
    let consume = ["consume", "--key", "order_id", "--window", "1s"];
    scene.run_with_input(&consume, orders(4, 0)).succeeded();
    // A round begins a minute after the one before.
    scene.sql("tower-inbox.db", "update tower_inbox_meta set swept_at = 0");
    sleep(Duration::from_millis(3100));
    let args = ["consume", "--key", "order_id", "--consumer", "two", "--exec", "sleep 0.3"];
    scene.run_with_input(&args, orders(3, 0)).succeeded();
    let left = scene.sql("tower-inbox.db", "select count(*) || '' from tower_inbox_inbox");
    assert_eq!(left, ["3"]);
}

#[test]
fn every_verb_has_help_with_examples() {
    let scene = Scene::new();
    for verb in [
        &[][..],
        &["consume"],
        &["migrate"],
        &["status"],
        &["inbox"],
        &["inbox", "list"],
        &["inbox", "show"],
        &["inbox", "explain"],
        &["inbox", "forget"],
        &["inbox", "ages"],
        &["inbox", "audit"],
        &["inbox", "purge"],
        &["dead"],
        &["dead", "list"],
        &["dead", "show"],
        &["dead", "requeue"],
        &["dead", "discard"],
        &["completions"],
    ] {
        for flag in ["--help", "-h"] {
            let ran = scene.run(&[verb, &[flag]].concat()).succeeded();
            assert!(ran.stdout.contains("Examples:\n  "), "{verb:?}: {}", ran.stdout);
            assert!(!ran.stdout.contains('\x1b'), "{verb:?}");
        }
    }
}

#[test]
fn completions_are_printed_for_each_shell() {
    let scene = Scene::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = scene.run(&["completions", shell]).succeeded();
        assert!(ran.stdout.contains("tower-inbox"), "{shell}");
    }
}
