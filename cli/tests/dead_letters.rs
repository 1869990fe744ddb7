//! Lines that are of no use: kept with number and reason, and the rest goes on.
#![cfg(feature = "sqlite")]

mod scene;

use scene::{Scene, orders};
use serde_json::json;

#[test]
fn each_bad_line_is_kept_with_its_number_and_reason() {
    let scene = Scene::new();
    let mut stream = b"{\"order_id\":1}\n\n".to_vec();
    stream.extend_from_slice(b"{\"order_id\":\n");
    stream.extend_from_slice(b"{\"id\":2}\r\n");
    stream.extend_from_slice(b"{\"order_id\":null}\n");
    stream.extend_from_slice(b"{\"order_id\":1.5}\n");
    stream.extend_from_slice(b"\"text\"\n");
    stream.extend_from_slice(b"{\"order_id\":\"\xff\"}\n");
    stream.extend_from_slice(
        &[b"{\"order_id\":9,\"x\":\"", "y".repeat(5000).as_bytes(), b"\"}\n"].concat(),
    );
    stream.extend_from_slice(b"{\"order_id\":10}");
    scene.write("in.ndjson", stream);

    let ran = scene.run(&[
        "consume",
        "--input",
        "in.ndjson",
        "--key",
        "order_id",
        "--max-line",
        "4KiB",
        "--format",
        "json",
    ]);
    let report = ran.succeeded().report();
    assert_eq!((report.delivered, report.handled, report.dead_letters), (9, 2, 7));
    assert_eq!(scene.messages("messages"), ["{\"order_id\":1}", "{\"order_id\":10}"]);

    let missing = "key field `order_id` is missing; if it may be, write `order_id?`";
    let letters = scene.letters("in.ndjson.dead.ndjson");
    assert_eq!(letters[0]["line"], 3);
    assert_eq!(letters[0]["raw"], "{\"order_id\":");
    assert!(letters[0]["reason"].as_str().unwrap().starts_with("not valid JSON: "));
    assert_eq!(letters[1], json!({"line": 4, "reason": missing, "raw": "{\"id\":2}"}));
    assert_eq!(letters[2]["line"], 5);
    assert!(letters[2]["reason"].as_str().unwrap().contains("`order_id` is null"));
    assert_eq!(letters[3]["line"], 6);
    assert!(letters[3]["reason"].as_str().unwrap().contains("holds 1.5"));
    assert_eq!(letters[4], json!({"line": 7, "reason": missing, "raw": "\"text\""}));
    assert_eq!(
        letters[5],
        json!({
            "line": 8,
            "reason": "the line is not UTF-8 at byte 14",
            "raw_hex": "7b226f726465725f6964223a22ff227d",
        })
    );
    assert_eq!(letters[6]["line"], 9);
    assert_eq!(letters[6]["reason"], "the line is longer than 4096 bytes");
    assert_eq!(letters[6]["truncated"], true);
    assert_eq!(letters[6]["raw"].as_str().unwrap().len(), 1024);
    assert_eq!(letters.len(), 7);
}

#[test]
fn fields_that_may_be_missing_say_so() {
    let scene = Scene::new();
    let stream = "{\"a\":1}\n{\"a\":1,\"b\":null}\n{\"b\":1}\n{\"c\":1}\n";
    let ran = scene
        .run_with_input(&["consume", "--key", "a?,b?", "--format", "json"], stream)
        .succeeded();
    let report = ran.report();
    assert_eq!((report.handled, report.duplicates, report.dead_letters), (2, 1, 1));
    let letters = scene.letters("stdin.dead.ndjson");
    assert_eq!(letters[0]["line"], 4);
    assert!(letters[0]["reason"].as_str().unwrap().contains("every key field is missing"));
}

#[test]
fn a_run_without_bad_lines_removes_the_letters_of_the_one_before() {
    let scene = Scene::new();
    let consume = ["consume", "--key", "order_id", "--dead-letters", "dead"];
    scene.run_with_input(&consume, "nonsense\n").succeeded();
    assert_eq!(scene.letters("dead").len(), 1);
    scene.run_with_input(&consume, orders(3, 0)).succeeded();
    assert!(!scene.path("dead").exists());
}

#[test]
fn a_field_that_no_line_has_is_pointed_out() {
    let scene = Scene::new();
    let ran = scene.run_with_input(&["consume", "--key", "oder_id"], orders(3, 0)).succeeded();
    assert!(ran.stderr.contains("every line became a dead letter; is --key right?"), "{ran:?}");
    assert!(ran.stderr.contains("line 1: key field `oder_id` is missing"), "{ran:?}");
}

#[test]
fn letters_never_go_over_the_input_or_the_database() {
    let scene = Scene::new();
    let stream = orders(3, 0);
    scene.write("in.ndjson", &stream);
    let consume = ["consume", "--key", "order_id", "--input", "in.ndjson", "--dead-letters"];
    scene
        .run(&[&consume[..], &["./in.ndjson"]].concat())
        .failed(2, &["is the input and cannot take dead letters"]);
    assert_eq!(scene.read("in.ndjson"), stream);

    scene.run(&[&consume[..], &["dead"]].concat()).succeeded();
    scene
        .run(&[&consume[..], &["tower-inbox.db"]].concat())
        .failed(2, &["is the database and cannot take dead letters"]);
    assert_eq!(scene.messages("messages").len(), 3);

    scene
        .run(&[&consume[..], &["."]].concat())
        .failed(2, &["cannot use . for dead letters", "not a file"]);
}

#[test]
fn a_place_that_takes_no_letters_stops_the_run() {
    let scene = Scene::new();
    let ran = scene.run_with_input(
        &[
            "consume",
            "--key",
            "order_id",
            "--dead-letters",
            "no/such/folder/dead",
            "--format",
            "json",
        ],
        orders(2, 0) + "nonsense\n" + &orders(5, 0),
    );
    ran.failed(1, &["could not write dead letters to no/such/folder/dead", "what to do:"]);
    let report = ran.report();
    assert_eq!((report.handled, report.dead_letters), (2, 0));
}
