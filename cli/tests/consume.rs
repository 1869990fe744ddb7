//! `consume` into an SQLite file: each message once.
#![cfg(feature = "sqlite")]

mod scene;

use std::{collections::BTreeSet, thread::sleep, time::Duration};

use scene::{Report, Scene, distinct, folder_of_repository, orders};

#[test]
fn the_second_run_handles_nothing() {
    let scene = Scene::new();
    scene.write("orders.ndjson", orders(200, 0));
    let consume = ["consume", "--input", "orders.ndjson", "--key", "order_id", "--format", "json"];

    let first = scene.run(&consume).succeeded().report();
    assert_eq!((first.delivered, first.handled), (200, 200));
    let second = scene.run(&consume).succeeded().report();
    assert_eq!((second.delivered, second.handled, second.duplicates), (200, 0, 200));
    assert_eq!(scene.messages("messages").len(), 200);
}

#[test]
fn a_stream_with_duplicates_is_handled_once_each() {
    let scene = Scene::new();
    scene.write("orders.ndjson", orders(900, 100));
    for workers in ["1", "8"] {
        let report = scene
            .run(&[
                "consume",
                "--input",
                "orders.ndjson",
                "--key",
                "order_id,email",
                "--format",
                "json",
                "--consumer",
                workers,
                "--into",
                &format!("by_{workers}"),
                "--workers",
                workers,
            ])
            .succeeded()
            .report();
        assert_eq!((report.delivered, report.handled, report.duplicates), (1000, 900, 100));
        let messages = scene.messages(&format!("by_{workers}"));
        assert_eq!((messages.len(), distinct(&messages).len()), (900, 900));
    }
}

#[test]
fn one_worker_handles_in_the_order_of_the_stream() {
    let scene = Scene::new();
    let stream = orders(100, 30);
    scene.run_with_input(&["consume", "--key", "order_id"], &stream).succeeded();
    let mut seen = BTreeSet::new();
    let firsts: Vec<&str> = stream.lines().filter(|line| seen.insert(*line)).collect();
    assert_eq!(scene.messages("messages"), firsts);
}

#[test]
fn the_whole_line_can_be_the_key() {
    // Like recorded webhooks: no id of their own, nested payloads, a few lines recorded twice.
    let scene = Scene::new();
    let mut lines: Vec<String> = (0..120)
        .map(|n| {
            format!(
                r#"{{"event":"issues","payload":{{"action":"opened","issue":{{"number":{n},"title":"Größe {n} 🚚","labels":[{{"name":"bug"}}],"score":{n}.5}},"sender":null}}}}"#
            )
        })
        .collect();
    lines.extend_from_within(..5);
    let ran =
        scene.run_with_input(&["consume", "--key", ".", "--format", "json"], lines.join("\n"));
    let report = ran.succeeded().report();
    assert_eq!((report.delivered, report.handled, report.duplicates), (125, 120, 5));
    assert_eq!(scene.messages("messages"), lines[..120]);
}

#[test]
fn the_text_of_a_line_is_kept_as_it_came() {
    let scene = Scene::new();
    let stream = "\u{feff}{\"order_id\" : 1 ,\t\"big\":12345678901234567890.5e1}\r\n\n   \n \
                  {\"order_id\":2, \"order_id\":3} ";
    let ran = scene.run_with_input(&["consume", "--key", "order_id", "--format", "json"], stream);
    assert_eq!(ran.succeeded().report().delivered, 2);
    assert_eq!(
        scene.messages("messages"),
        [
            "{\"order_id\" : 1 ,\t\"big\":12345678901234567890.5e1}",
            " {\"order_id\":2, \"order_id\":3} ",
        ]
    );
}

#[test]
fn the_key_in_the_table_is_the_key_of_the_claim() {
    let scene = Scene::new();
    scene.run_with_input(&["consume", "--key", "order_id"], orders(5, 0)).succeeded();
    let keys = scene.sql("tower-inbox.db", "select inbox_key from messages order by inbox_key");
    let claims =
        scene.sql("tower-inbox.db", "select lower(hex(key)) from tower_inbox_inbox order by key");
    let plain: Vec<_> = keys.iter().map(|key| key.replace('-', "")).collect();
    assert_eq!(plain, claims);
}

#[test]
fn consumers_and_kinds_are_apart() {
    let scene = Scene::new();
    let handled = |more: &[&str]| {
        let args = [&["consume", "--key", "order_id", "--format", "json"], more].concat();
        scene.run_with_input(&args, orders(10, 0)).succeeded().report().handled
    };
    assert_eq!(handled(&[]), 10);
    assert_eq!(handled(&["--consumer", "billing"]), 10);
    assert_eq!(handled(&["--kind", "OrderPlaced"]), 10);
    assert_eq!(handled(&["--kind", "OrderPlaced"]), 0);
    assert_eq!(handled(&["--consumer", "billing"]), 0);
}

#[test]
fn after_the_window_a_message_is_new() {
    let scene = Scene::new();
    let consume = ["consume", "--key", "order_id", "--window", "3s", "--format", "json"];
    let run = || scene.run_with_input(&consume, orders(3, 0)).succeeded().report();
    assert_eq!(run().handled, 3);
    assert_eq!(run().duplicates, 3);
    // At least the window, and less than two seconds longer.
    sleep(Duration::from_millis(5100));
    assert_eq!(run().handled, 3);
}

#[test]
fn a_message_that_the_table_refuses_fails_alone() {
    let scene = Scene::new();
    scene.run_with_input(&["consume", "--key", "order_id"], orders(1, 0)).succeeded();
    scene.sql(
        "tower-inbox.db",
        "create table small (
            inbox_key text,
            message text check (json_extract(message, '$.cents') < 500)
         )",
    );
    let consume = [
        "consume",
        "--key",
        "order_id",
        "--into",
        "small",
        "--consumer",
        "small",
        "--format",
        "json",
    ];
    let ran = scene.run_with_input(&consume, orders(100, 0)).succeeded();
    let report = ran.report();
    assert_eq!((report.handled, report.failed), (72, 28));
    assert!(ran.stderr.contains("line 73 failed: the table refused it"), "{}", ran.stderr);

    // What failed was not recognised; once it fits it is handled.
    scene.sql("tower-inbox.db", "alter table small rename to smaller");
    let again = scene.run_with_input(&consume, orders(100, 0)).succeeded().report();
    assert_eq!((again.handled, again.duplicates), (28, 72));
}

#[test]
fn an_empty_stream_is_a_report_of_zeros() {
    let scene = Scene::new();
    let ran = scene.run(&["consume", "--key", "order_id", "--format", "json"]).succeeded();
    assert_eq!(
        ran.report(),
        Report {
            delivered: 0,
            handled: 0,
            duplicates: 0,
            in_flight: 0,
            failed: 0,
            dead_lettered: 0,
            dead_letters: 0,
            redelivered: 0,
        }
    );
    assert_eq!(ran.stderr, "");
}

#[test]
fn the_report_for_people_names_all_numbers() {
    let scene = Scene::new();
    let ran = scene
        .run_with_input(&["consume", "--key", "order_id"], orders(9, 1) + "nonsense\n")
        .succeeded();
    let lines: Vec<Vec<&str>> =
        ran.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["consumer", "default"]);
    assert_eq!(lines[1], ["delivered", "11"]);
    assert_eq!(lines[2], ["handled", "9"]);
    assert_eq!(lines[3], ["duplicates", "1"]);
    assert_eq!(lines[4], ["in", "flight", "0"]);
    assert_eq!(lines[5], ["failed", "0"]);
    assert_eq!(lines[6], ["dead", "letters", "1", "in", "stdin.dead.ndjson"]);
    assert_eq!(lines[7][0], "seconds");
    assert_eq!(lines[8][..2], ["per", "second"]);
    // No bar and no colours where there is no terminal.
    assert_eq!(ran.stderr, "");
    assert!(!ran.stdout.contains('\x1b'));
}

#[test]
fn the_example_of_the_readme_works() {
    let scene = Scene::new();
    let orders = folder_of_repository().join("examples/orders.ndjson");
    let consume = [
        "consume",
        "--input",
        orders.to_str().unwrap(),
        "--key",
        "order_id,email",
        "--format",
        "json",
        "--dead-letters",
        "dead.ndjson",
    ];
    let first = scene.run(&consume).succeeded().report();
    assert_eq!(
        (first.delivered, first.handled, first.duplicates, first.dead_letters),
        (32, 27, 4, 1)
    );
    let second = scene.run(&consume).succeeded().report();
    assert_eq!((second.handled, second.duplicates, second.dead_letters), (0, 31, 1));
}

#[test]
fn a_table_of_the_right_columns_is_used() {
    let scene = Scene::new();
    scene.sql(
        "tower-inbox.db",
        "create table \"my orders\" (
            MESSAGE TEXT not null,
            id integer primary key,
            state text not null default 'new',
            order_id int as (json_extract(message, '$.order_id')) stored,
            inbox_key TEXT not null unique
         )",
    );
    scene
        .run_with_input(&["consume", "--key", "order_id", "--into", "my orders"], orders(4, 1))
        .succeeded();
    assert_eq!(
        scene.sql("tower-inbox.db", "select order_id || state from \"my orders\" order by 1"),
        ["0new", "1new", "2new", "3new"]
    );
}
