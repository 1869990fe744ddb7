//! `inbox list|show|explain|forget|ages|audit`, `dead list|show|requeue|discard`, and what `consume`
//! makes of requeued letters.
#![cfg(feature = "sqlite")]

mod scene;

use std::{io::Write, process::Stdio, thread::sleep, time::Duration};

use scene::{Ran, Scene, order, orders, wait_for};
use serde_json::{Value, json};

/// Fails for orders of more than 99 cents, as long as there is a file `broken`.
const PICKY: &str = r#"line=$(cat); [ -e broken ] && case "$line" in *'"cents":'[0-9][0-9][0-9]*) echo no >&2; exit 3;; esac; echo "$line" >> out"#;

#[test]
fn a_message_is_explained_by_its_line_or_its_key() {
    let scene = Scene::new();
    consume(&scene, &[], order(1)).succeeded();
    let key = scene.sql("tower-inbox.db", "select inbox_key from messages").remove(0);

    let by_line = explain(&scene, &order(1));
    let by_key = scene.run(&["inbox", "explain", "--key-value", &key, "--format", "ndjson"]).json();
    assert_eq!(by_line, by_key);
    assert_eq!((&by_line["key"], &by_line["consumer"]), (&json!(key), &json!("default")));
    assert_eq!(
        (&by_line["state"], &by_line["next_delivery"]),
        (&json!("handled"), &json!("duplicate"))
    );
    assert!(by_line["handled_at"].as_str() < by_line["until"].as_str());
    assert_eq!(explain(&scene, &order(2))["state"], "free");

    let text = scene.run_with_input(&["inbox", "explain", "--key", "order_id"], order(1));
    let text = text.succeeded().stdout;
    for part in [&*key, "dropped as a duplicate until", "It was handled about"] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    let shown = scene.run(&["inbox", "show", "--key-value", &key]).succeeded().stdout;
    assert!(shown.contains("state         handled\n"), "{shown}");

    // The same flags as for consume, from the same places.
    scene.write("tower-inbox.toml", "[consume]\nkey = \"order_id\"\nconsumer = \"billing\"\n");
    scene.write("message", format!("{}\n", order(7)));
    consume(&scene, &["--kind", "Order"], order(7)).succeeded();
    let args = ["inbox", "explain", "--message", "message", "--format", "json"];
    assert_eq!(scene.run(&args).json()["state"], "free");
    let explained = scene.run(&[&args[..], &["--kind", "Order"]].concat()).json();
    assert_eq!(
        (&explained["consumer"], &explained["state"]),
        (&json!("billing"), &json!("handled"))
    );
}

#[test]
fn a_subject_that_makes_no_sense_is_said_so() {
    let scene = Scene::new();
    let explain = |more: &[&str], input: &str| {
        scene.run_with_input(&[&["inbox", "explain"], more].concat(), input)
    };
    explain(&[], "").failed(2, &["which message?", "--key-value UUID"]);
    explain(&["--key-value", "7"], "").failed(2, &["\"7\" is no key", "written like 67e55044"]);
    explain(&["--key", "order_id"], "").failed(2, &["the input is empty"]);
    explain(&["--key", "order_id"], "no json").failed(2, &["the message has no key"]);
    explain(&["--key", "order_id?"], "{}").failed(2, &["every key field is missing"]);
    explain(&["--key", "order_id"], &orders(2, 0)).failed(2, &["more than one message"]);
    let both = ["--key-value", "67e55044-10b1-426f-9247-bb680e5fe0c8", "--message", "x"];
    explain(&both, "").failed(2, &["are two messages"]);
    explain(&["--key", "order_id", "--message", "none"], "").failed(2, &["could not open none"]);
    explain(&["--key", "order_id"], &order(1)).failed(1, &["there is no SQLite file"]);

    consume(&scene, &[], order(1)).succeeded();
    explain(&["--key", "order_id", "--consumer", "biling"], &order(1))
        .failed(2, &["there is no consumer \"biling\"", "tower-inbox status"]);
    scene.sql("tower-inbox.db", "update tower_inbox_consumer set key_probe = zeroblob(16)");
    explain(&["--key", "order_id"], &order(1))
        .failed(2, &["made with another hash", "--key-value"]);
}

#[test]
fn a_forgotten_message_is_handled_again() {
    let scene = Scene::new();
    consume(&scene, &[], orders(3, 0)).succeeded();
    let forget = |more: &[&str]| {
        let args = ["inbox", "forget", "--key", "order_id", "--actor", "ann"];
        scene.run_with_input(&[&args, more].concat(), order(1))
    };
    let dry = forget(&["--dry-run", "--format", "json"]).json();
    assert_eq!((&dry["forgotten"], &dry["was"]), (&json!(false), &json!("handled")));
    assert_eq!(consume(&scene, &[], orders(3, 0)).succeeded().report().duplicates, 3);

    let forgotten = forget(&[]).succeeded();
    assert!(forgotten.stdout.contains("forgotten; it was handled"), "{forgotten:?}");
    assert!(forgotten.stderr.contains("remember committed keys"), "{forgotten:?}");
    assert!(forget(&[]).succeeded().stdout.contains("there is nothing to forget"));
    let report = consume(&scene, &[], orders(3, 0)).succeeded().report();
    assert_eq!((report.handled, report.duplicates), (1, 2));

    let audit = scene.run(&["inbox", "audit", "--format", "json"]).json();
    let entries = audit["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!((&entries[0]["actor"], &entries[0]["action"]), (&json!("ann"), &json!("forget")));
    assert_eq!(explain(&scene, &order(1))["audit"], audit["entries"]);
}

#[test]
fn a_leased_message_is_forgotten_by_force_only() {
    let scene = Scene::new();
    let mut run = scene
        .spawn(&["consume", "--key", "order_id", "--exec", "touch begun; sleep 3"], Stdio::piped());
    run.stdin.take().unwrap().write_all(order(1).as_bytes()).unwrap();
    wait_for(|| scene.path("begun").exists());
    let leased = explain(&scene, &order(1));
    assert_eq!(
        (&leased["state"], &leased["next_delivery"]),
        (&json!("leased"), &json!("in_flight"))
    );
    assert!(leased["lease"]["owner"].as_str().unwrap().starts_with("process "));

    let forget = ["inbox", "forget", "--key", "order_id"];
    scene.run_with_input(&forget, order(1)).failed(1, &["has leased the message", "--force"]);
    let forced = scene.run_with_input(&[&forget[..], &["--force"]].concat(), order(1));
    assert!(forced.succeeded().stdout.contains("it was leased"));
    let ran: Ran = run.wait_with_output().unwrap().into();
    assert!(ran.succeeded().stderr.contains("failed: the lease had run out"));
    assert_eq!(explain(&scene, &order(1))["state"], "free");
}

#[test]
fn claims_are_listed_in_pages() {
    let scene = Scene::new();
    consume(&scene, &["--window", "1s"], orders(2, 0)).succeeded();
    sleep(Duration::from_millis(2100));
    consume(&scene, &["--window", "1h"], orders(5, 0)).succeeded();
    consume(&scene, &["--consumer", "other"], orders(1, 0)).succeeded();

    let list = |more: &[&str]| scene.run(&[&["inbox", "list"], more].concat());
    let all = list(&["--format", "json"]).json();
    assert_eq!((all["claims"].as_array().unwrap().len(), &all["next"]), (5, &Value::Null));
    let first = list(&["--limit", "3", "--format", "json"]).json();
    let next = first["next"].as_str().unwrap();
    let second = list(&["--limit", "3", "--after", next, "--format", "json"]).json();
    let claims = |page: &Value| page["claims"].as_array().unwrap().clone();
    assert_eq!([claims(&first), claims(&second)].concat(), claims(&all));

    let lines = list(&["--limit", "2", "--all", "--format", "ndjson"]).succeeded();
    let lines: Vec<Value> =
        lines.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, *all["claims"].as_array().unwrap());
    let text = list(&["--limit", "2"]).succeeded();
    assert_eq!(text.stdout.lines().count(), 3);
    assert!(text.stderr.contains("there are more: add --after"), "{text:?}");
    assert_eq!(list(&["--state", "leased"]).succeeded().stdout, "there are none\n");
    list(&["--state", "lost"]).failed(2, &["--state lost", "handled, leased, dead, expired"]);
    list(&["--after", "x"]).failed(2, &["no place in a list"]);
    list(&["--limit", "0"]).failed(2, &["at least one line"]);
}

#[test]
fn a_message_that_failed_too_often_is_requeued_and_handled() {
    let scene = Scene::new();
    scene.write("broken", "");
    let run = || {
        let args = ["--exec", PICKY, "--max-attempts", "2"];
        consume(&scene, &args, orders(30, 0)).succeeded()
    };
    let first = run().report();
    assert_eq!((first.handled, first.failed, first.dead_lettered), (15, 15, 0));
    let second = run();
    assert_eq!((second.report().duplicates, second.report().dead_lettered), (15, 15));
    assert!(second.stderr.contains("is a dead letter: the message failed too often"), "{second:?}");
    assert!(second.stderr.contains("15 failed too often: `tower-inbox dead list`"), "{second:?}");
    // Redeliveries of dead letters are answered without the command.
    assert_eq!(run().report().dead_lettered, 15);

    let letters = list_dead(&scene, &[]);
    assert_eq!(letters.len(), 15);
    let letter = &letters[0];
    assert_eq!((&letter["started"], &letter["finished"]), (&json!(2), &json!(2)));
    assert!(letter["reason"].as_str().unwrap().contains("exit status: 3"), "{letter}");
    let key = letter["key"].as_str().unwrap();
    let shown = scene.run(&["dead", "show", key, "--format", "json"]).json();
    assert!(shown["payload"].as_str().unwrap().starts_with("{\"order_id\":"), "{shown}");
    let payload = scene.run(&["dead", "show", key, "--payload"]).succeeded().stdout;
    assert_eq!(json!(payload), shown["payload"]);
    let status = scene.run(&["status", "--format", "json"]).json();
    assert_eq!(status["consumers"][0]["dead_letters"], 15);

    // Still broken: it dies again, after two attempts.
    scene.run(&["dead", "requeue", key]).succeeded();
    let args = ["--exec", PICKY, "--max-attempts", "2"];
    for (failed, dead) in [(1, 0), (0, 1)] {
        let report = consume(&scene, &args, "").succeeded().report();
        assert_eq!((report.redelivered, report.failed, report.dead_lettered), (1, failed, dead));
    }
    let again = scene.run(&["dead", "show", key, "--format", "json"]).json();
    assert_eq!((&again["deaths"], &again["state"]), (&json!(2), &json!("dead")));

    std::fs::remove_file(scene.path("broken")).unwrap();
    let requeued = scene.run(&["dead", "requeue", "--all", "--format", "json"]).json();
    assert_eq!((&requeued["requeued"], &requeued["refused"]), (&json!(15), &json!(0)));
    assert_eq!(list_dead(&scene, &["--state", "dead"]).len(), 0);
    assert_eq!(list_dead(&scene, &["--state", "requeued"]).len(), 15);
    let done = run().report();
    assert_eq!((done.redelivered, done.handled, done.duplicates), (15, 15, 30));
    assert_eq!(list_dead(&scene, &[]).len(), 0);
    let out = scene.read("out");
    assert_eq!(scene::distinct(&out.lines().collect::<Vec<_>>()).len(), 30);
    assert_eq!(out.lines().count(), 30);
}

#[test]
fn a_letter_that_was_requeued_twice_is_said_so() {
    let scene = Scene::new();
    let key = dead_letter(&scene);
    let requeue = |more: &[&str]| scene.run(&[&["dead", "requeue", &key], more].concat());
    assert!(requeue(&["--dry-run"]).succeeded().stdout.contains("1 letters would be requeued"));
    requeue(&["--actor", "ann"]).succeeded();
    requeue(&[]).failed(1, &[&format!("{key} was requeued 20"), "by ann", "--again"]);
    requeue(&["--again", "--actor", "bob"]).succeeded();
    assert_eq!(consume(&scene, &[], "").succeeded().report().redelivered, 1);
    requeue(&["--again"]).failed(1, &["is no dead letter"]);
    let audit = scene.run(&["inbox", "audit", "--format", "json"]).json();
    let actors: Vec<_> = audit["entries"].as_array().unwrap().iter().map(|e| &e["actor"]).collect();
    assert_eq!(actors, ["bob", "ann"]);
}

#[test]
fn a_run_that_is_killed_over_a_letter_is_completed_by_the_next() {
    let scene = Scene::new();
    dead_letter(&scene);
    scene.run(&["dead", "requeue", "--all"]).succeeded();
    let exec = |command| ["--lease", "1s", "--max-attempts", "3", "--exec", command];
    let args = [&["consume", "--key", "order_id"][..], &exec("touch begun; sleep 9")].concat();
    let mut run = scene.spawn(&args, Stdio::piped());
    wait_for(|| scene.path("begun").exists());
    run.kill().unwrap();
    run.wait().unwrap();
    let report = consume(&scene, &exec("cat >> out"), "").succeeded().report();
    assert_eq!((report.redelivered, report.handled), (1, 1));
    assert_eq!(scene.read("out"), format!("{}\n", order(1)));
    assert_eq!(list_dead(&scene, &[]).len(), 0);
}

#[test]
fn letters_are_printed_for_a_broker() {
    let scene = Scene::new();
    let key = dead_letter(&scene);
    let printed = scene.run(&["dead", "requeue", "--all", "--print"]).succeeded();
    assert_eq!(printed.stdout, format!("{}\n", order(1)));
    assert!(printed.stderr.contains("1 letters requeued"), "{printed:?}");
    // What the broker delivers is handled, and the letter is gone with it.
    let args = ["--max-attempts", "1"];
    assert_eq!(consume(&scene, &args, printed.stdout).succeeded().report().delivered, 2);
    assert_eq!(scene.messages("messages").len(), 1);
    assert_eq!(list_dead(&scene, &[]).len(), 0);
    scene.run(&["dead", "requeue", &key, "--print", "--dry-run"]).failed(2, &["--print and"]);
}

#[test]
fn a_discarded_letter_stays_dropped() {
    let scene = Scene::new();
    let key = dead_letter(&scene);
    let discard = |more: &[&str]| scene.run(&[&["dead", "discard"], more].concat());
    discard(&[]).failed(2, &["which dead letters?"]);
    discard(&[&key, "--all"]).failed(2, &["which dead letters?"]);
    discard(&["--all"]).failed(2, &["would delete", "--yes"]);
    assert!(discard(&["--all", "--dry-run"]).succeeded().stdout.contains("1 letters would be"));
    assert_eq!(list_dead(&scene, &[]).len(), 1);
    assert!(discard(&[&key]).succeeded().stdout.contains("1 letters discarded"));
    discard(&[&key]).failed(1, &["there are no dead letters", &key]);
    scene.run(&["dead", "show", &key]).failed(1, &["has no dead letter"]);
    assert_eq!(consume(&scene, &[], order(1)).succeeded().report().duplicates, 1);
}

#[test]
fn a_letter_that_another_key_reads_differently_is_left() {
    let scene = Scene::new();
    dead_letter(&scene);
    scene.run(&["dead", "requeue", "--all"]).succeeded();
    let args = ["consume", "--key", "customer_id", "--format", "json"];
    let ran = scene.run_with_input(&args, "").succeeded();
    assert_eq!((ran.report().redelivered, ran.report().failed), (1, 1));
    assert!(ran.stderr.contains("the payload of the requeued letter cannot be read"), "{ran:?}");
    assert_eq!(list_dead(&scene, &["--state", "requeued"]).len(), 1);
    assert_eq!(consume(&scene, &[], "").succeeded().report().handled, 1);
}

#[test]
fn a_full_output_is_not_the_messages_fault() {
    let scene = Scene::new();
    let args = ["consume", "--key", "order_id", "--stdout", "--max-attempts", "1"];
    let mut run = scene.spawn(&args, Stdio::piped());
    drop(run.stdout.take());
    run.stdin.take().unwrap().write_all(orders(3, 0).as_bytes()).ok();
    assert_eq!(run.wait().unwrap().code(), Some(1));
    assert_eq!(list_dead(&scene, &[]).len(), 0);
    scene
        .run(&["consume", "--key", "order_id", "--max-attempts", "0"])
        .failed(2, &["--max-attempts 0", "at least once"]);
}

#[test]
fn the_ages_of_duplicates_say_how_long_the_window_must_be() {
    let scene = Scene::new();
    let ages = |more: &[&str]| scene.run(&[&["inbox", "ages"], more].concat());
    consume(&scene, &[], orders(4, 0)).succeeded();
    assert!(ages(&[]).succeeded().stdout.contains("has had no duplicates"));
    consume(&scene, &[], orders(4, 3)).succeeded();
    sleep(Duration::from_millis(3100));
    consume(&scene, &[], orders(4, 0)).succeeded();

    let found = ages(&["--format", "json"]).json();
    assert_eq!(found["duplicates"], 11);
    let buckets = found["buckets"].as_array().unwrap();
    assert_eq!(buckets.last().unwrap()["recognised_percent"], 100.0);
    let sum: u64 = buckets.iter().map(|bucket| bucket["duplicates"].as_u64().unwrap()).sum();
    assert_eq!(sum, 11);
    let text = ages(&[]).succeeded().stdout;
    assert!(text.contains("would have recognised 100.00 % of these duplicates"), "{text}");
    ages(&["--consumer", "none"]).failed(2, &["there is no consumer \"none\""]);
}

fn consume(scene: &Scene, more: &[&str], input: impl AsRef<[u8]>) -> Ran {
    let args = ["consume", "--key", "order_id", "--format", "json"];
    scene.run_with_input(&[&args, more].concat(), input)
}

fn explain(scene: &Scene, line: &str) -> Value {
    let args = ["inbox", "explain", "--key", "order_id", "--format", "json"];
    scene.run_with_input(&args, line).json()
}

fn list_dead(scene: &Scene, more: &[&str]) -> Vec<Value> {
    let list = scene.run(&[&["dead", "list", "--all", "--format", "json"], more].concat()).json();
    list["letters"].as_array().unwrap().clone()
}

/// Lets the first order die, and gives its key.
fn dead_letter(scene: &Scene) -> String {
    let args = ["--exec", "exit 3", "--max-attempts", "1"];
    assert_eq!(consume(scene, &args, order(1)).succeeded().report().dead_lettered, 1);
    list_dead(scene, &[])[0]["key"].as_str().unwrap().to_owned()
}
