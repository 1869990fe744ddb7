//! `events` in the memory of one run: what nothing has to be installed for.

mod scene;

use std::{
    io::{BufRead, BufReader, Write},
    process::Stdio,
    thread::sleep,
    time::Duration,
};

use scene::{Checked, Ran, Scene, interrupt, order, orders};

const CHECK: [&str; 6] = ["events", "check", "--id", "order_id", "--format", "json"];

#[test]
fn new_lines_come_out_unchanged_and_in_order() {
    let scene = Scene::new();
    let stream = concat!(
        "{\"order_id\": 2,   \"note\": \"spaces\\t stay\"}\n",
        "{\"order_id\":1}\n",
        "\n",
        "{\"order_id\":2,\"note\":\"another text, the same event\"}\n",
        "{\"order_id\":3,\"at\":1.5}\n",
        "{\"order_id\":1}",
    );
    let ran = scene.run_with_input(&CHECK, stream).succeeded();
    let expected = concat!(
        "{\"order_id\": 2,   \"note\": \"spaces\\t stay\"}\n",
        "{\"order_id\":1}\n",
        "{\"order_id\":3,\"at\":1.5}\n",
    );
    assert_eq!(ran.stdout, expected);
    let checked = Checked::of(&ran);
    assert_eq!((checked.delivered, checked.new, checked.duplicates), (5, 3, 2));
}

#[test]
fn each_event_of_a_long_stream_is_printed_once_at_its_first_place() {
    let scene = Scene::new();
    scene.write("in", orders(5000, 2000));
    let mut seen = std::collections::HashSet::new();
    let first: String = orders(5000, 2000)
        .lines()
        .filter(|line| seen.insert(line.to_string()))
        .map(|line| format!("{line}\n"))
        .collect();
    for more in [&[][..], &["--at-most-once"], &["--exact-ids"], &["--window", "none"]] {
        let ran = scene.run(&[&CHECK[..], &["--input", "in"], more].concat()).succeeded();
        assert!(ran.stdout == first, "{more:?}");
        let checked = Checked::of(&ran);
        assert_eq!((checked.new, checked.duplicates), (5000, 2000), "{more:?}");
        assert_eq!((checked.unconfirmed, checked.lost, checked.unchecked), (0, 0, 0));
    }
}

#[test]
fn the_report_is_for_people_unless_they_say_otherwise() {
    let scene = Scene::new();
    let ran = scene.run_with_input(&["events", "check", "--id", "."], "1\n2\n 1 \n").succeeded();
    assert_eq!(ran.stdout, "1\n2\n");
    for line in ["store         memory", "delivered              3", "  duplicates           1"] {
        assert!(ran.stderr.contains(line), "{line:?} is not in:\n{}", ran.stderr);
    }
}

#[test]
fn a_line_of_no_use_is_a_dead_letter_and_the_rest_goes_on() {
    let scene = Scene::new();
    scene.write("tower-inbox.toml", "[events]\nmax-id-bytes = 40\n");
    let mut stream = Vec::new();
    for line in [
        &br#"{"id":"a"}"#[..],
        b"{\"id\":\xff}",
        br#"{"id":"b""#,
        br#"{"other":1}"#,
        br#"{"id":1.5}"#,
        br#"{"id":"a long one of more than forty bytes, with room"}"#,
        br#"{"id":"a","note":"a line of more than the hundred bytes that it may have here, and a good deal more of them"}"#,
        br#"{"id":"c"}"#,
    ] {
        stream.extend_from_slice(line);
        stream.push(b'\n');
    }
    let check = ["events", "check", "--id", "id", "--max-line", "100", "--format", "json"];
    let ran = scene.run_with_input(&check, &stream).succeeded();
    assert_eq!(ran.stdout, "{\"id\":\"a\"}\n{\"id\":\"c\"}\n");
    let checked = Checked::of(&ran);
    assert_eq!((checked.delivered, checked.new, checked.dead_letters), (8, 2, 6));
    let letters = scene.letters("stdin.dead.ndjson");
    let numbers: Vec<_> = letters.iter().map(|letter| letter["line"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [2, 3, 4, 5, 6, 7]);
    for (letter, reason) in letters.iter().zip([
        "not UTF-8",
        "not valid JSON",
        "`id` is missing",
        "holds 1.5",
        "max-id-bytes in the config file raises it",
        "longer than 100 bytes",
    ]) {
        assert!(letter["reason"].as_str().unwrap().contains(reason), "{letter}");
    }

    // Nothing to recognise it by, and a file that is named.
    scene.write("in", "{\"other\":1}\n");
    let check = ["events", "check", "--id", "id?", "--input", "in", "--dead-letters", "dead"];
    let ran = scene.run(&check).succeeded();
    assert!(ran.stderr.contains("is --id right? line 1:"), "{}", ran.stderr);
    assert_eq!(scene.letters("dead").len(), 1);
}

#[test]
fn a_line_is_there_before_the_input_ends() {
    for more in [&[][..], &["--at-most-once"]] {
        let scene = Scene::new();
        let mut child = scene.spawn(&[&CHECK[..], more].concat(), Stdio::piped());
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        for line in orders(3, 0).lines() {
            writeln!(stdin, "{line}\n{line}").unwrap();
            let mut printed = String::new();
            stdout.read_line(&mut printed).unwrap();
            assert_eq!(printed.trim_end(), line);
        }
        drop(stdin);
        let ran: Ran = child.wait_with_output().unwrap().into();
        let checked = Checked::of(&ran.succeeded());
        assert_eq!((checked.new, checked.duplicates), (3, 3));
    }
}

#[test]
fn when_nobody_reads_on_the_run_ends_quietly() {
    for (more, loses) in [(&[][..], false), (&["--at-most-once"], true)] {
        let scene = Scene::new();
        // More than a pipe holds.
        scene.write("in", orders(4000, 0));
        let check = [&CHECK[..], &["--input", "in"], more].concat();
        let mut child = scene.spawn(&check, Stdio::null());
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        stdout.read_line(&mut first).unwrap();
        drop(stdout);
        let ran: Ran = child.wait_with_output().unwrap().into();
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(!ran.stderr.contains("error"), "{}", ran.stderr);
        let checked = Checked::of(&ran);
        assert!((1..4000).contains(&checked.new), "{checked:?}");
        assert_eq!(checked.lost > 0, loses, "{checked:?}");
        assert_eq!(ran.stderr.contains("with --at-most-once they are lost"), loses);
    }
}

#[test]
fn a_full_disk_behind_standard_output_stops_the_run() {
    let scene = Scene::new();
    scene.write("in", orders(5, 0));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = scene.command(&[&CHECK[..], &["--input", "in"]].concat());
    let ran: Ran = command.stdout(full).output().unwrap().into();
    ran.failed(1, &["could not write to standard output", "No space left"]);
    assert_eq!(Checked::of(&ran).new, 0);
}

#[test]
fn a_signal_ends_the_wait_for_a_silent_input() {
    for signal in ["INT", "TERM"] {
        let scene = Scene::new();
        let mut child = scene.spawn(&CHECK, Stdio::piped());
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, "{}", order(1)).unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut String::new()).unwrap();
        let ran = interrupt(child, signal);
        ran.failed(1, &["stopped by a signal: run the same command again to go on"]);
        assert_eq!(Checked::of(&ran).new, 1);
    }
}

#[test]
fn a_sliding_window_counts_from_the_last_time() {
    let scene = Scene::new();
    let window = ["--window", "1500ms", "--slot", "100ms"];
    for (more, printed) in [(&[][..], 2), (&["--sliding"], 1)] {
        let mut child = scene.spawn(&[&CHECK[..], &window, more].concat(), Stdio::piped());
        let mut stdin = child.stdin.take().unwrap();
        for pause in [1000, 1000, 0] {
            writeln!(stdin, "{}", order(1)).unwrap();
            sleep(Duration::from_millis(pause));
        }
        drop(stdin);
        let ran: Ran = child.wait_with_output().unwrap().into();
        assert_eq!(Checked::of(&ran).new, printed, "{more:?}");
    }
}

/// Usage errors leave no file behind.
#[test]
fn wrong_usage_is_explained_before_anything_happens() {
    for (args, says) in [
        (&["check"][..], &["there is no id", "--id FIELDS"][..]),
        (&["check", "--id", "a,,b"], &["--id \"a,,b\"", "empty part"]),
        (&["check", "--id", "a", "--window", "soon"], &["--window soon", "24h"]),
        (&["check", "--id", "a", "--window", "1ms"], &["a window of 1ms is not between"]),
        (&["check", "--id", "a", "--slot", "2h"], &["shorter than a slot"]),
        (&["check", "--id", "a", "--lease", "1ms"], &["a lease of 1ms is not between"]),
        (&["check", "--id", "a", "--max-line", "1GB"], &["--max-line 1GB", "KiB"]),
        (&["check", "--id", "a", "--namespace", "a b"], &["the namespace \"a b\""]),
        (&["check", "--id", "a", "--input", "none"], &["could not open the input none"]),
        (&["check", "--id", "a", "--store", "http://u:secret@h/"], &["http", "redis://HOST"]),
        (&["stats", "--store", "http://u:secret@h/"], &["http", "redis://HOST"]),
        (&["health", "--store", "http://u:secret@h/"], &["http", "redis://HOST"]),
        (&["clear"], &["clearing forgets all events", "--dry-run", "--yes"]),
    ] {
        let scene = Scene::new();
        let ran = scene.run(&[&["events"], args].concat());
        ran.failed(2, says);
        assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
        assert_eq!(ran.stdout, "", "{args:?}");
        assert_eq!(std::fs::read_dir(scene.path(".")).unwrap().count(), 0, "{args:?}");
    }
}

#[test]
#[cfg(not(feature = "redis"))]
fn a_store_that_was_not_built_in_is_named() {
    let scene = Scene::new();
    for store in ["redis://:secret@h/", "redis-cluster://u:secret@h:1,h:2"] {
        let ran = scene.run(&["events", "stats", "--store", store]);
        ran.failed(2, &["was built without Redis", "--features redis"]);
        assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
    }
}

#[test]
#[cfg(not(feature = "redis-tls"))]
fn tls_that_was_not_built_in_is_named() {
    let ran = Scene::new().run(&["events", "stats", "--store", "rediss://:secret@h/"]);
    let says = if cfg!(feature = "redis") { "TLS to Redis" } else { "without Redis" };
    ran.failed(2, &[says, "--features redis"]);
    assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let scene = Scene::new();
    scene.write(
        "tower-inbox.toml",
        "format = 'json'\n[events]\nid = 'order_id'\nnamespace = 'file'\nwindow = '10m'\n",
    );
    let namespace = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = scene.command(&[&["events", "stats"], args].concat());
        let ran: Ran = command.envs(env.iter().copied()).output().unwrap().into();
        ran.json()["namespace"].as_str().unwrap().to_owned()
    };
    let env = [("TOWER_INBOX_EVENTS_NAMESPACE", "environment")];
    assert_eq!(namespace(&[], &[]), "file");
    assert_eq!(namespace(&[], &env), "environment");
    assert_eq!(namespace(&["--namespace", "flag"], &env), "flag");
    let ran = scene.run_with_input(&["events", "check"], orders(2, 1)).succeeded();
    assert_eq!(Checked::of(&ran).duplicates, 1);
    let ran: Ran = scene
        .command(&["events", "stats"])
        .env("TOWER_INBOX_STORE", "http://u:secret@h/")
        .output()
        .unwrap()
        .into();
    ran.failed(2, &["http"]);
    assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
}

#[test]
fn every_flag_has_a_key_and_a_variable() {
    let scene = Scene::new();
    scene.write("in.ndjson", orders(4, 1) + "nonsense\n");
    let values = [
        ("id", "ID", "order_id"),
        ("input", "INPUT", "in.ndjson"),
        ("store", "STORE", "memory"),
        ("namespace", "EVENTS_NAMESPACE", "orders"),
        ("window", "EVENTS_WINDOW", "2days"),
        ("slot", "EVENTS_SLOT", "6h"),
        ("sliding", "EVENTS_SLIDING", "true"),
        ("lease", "EVENTS_LEASE", "5s"),
        ("at-most-once", "AT_MOST_ONCE", "true"),
        ("exact-ids", "EXACT_IDS", "true"),
        ("fail-open", "FAIL_OPEN", "true"),
        ("expected-events", "EVENTS_EXPECTED_EVENTS", "1000"),
        ("max-line", "MAX_LINE", "1MiB"),
        ("dead-letters", "DEAD_LETTERS", "dead"),
    ];
    let check = |ran: Ran| {
        let ran = ran.succeeded();
        let checked = Checked::of(&ran);
        assert_eq!((checked.new, checked.duplicates, checked.dead_letters), (4, 1, 1));
        assert!(ran.stderr.contains(r#""namespace":"orders""#), "{}", ran.stderr);
        assert_eq!(scene.letters("dead").len(), 1);
        std::fs::remove_file(scene.path("dead")).unwrap();
    };

    let mut command = scene.command(&["events", "check", "--format", "json"]);
    for (_, variable, value) in values {
        command.env(format!("TOWER_INBOX_{variable}"), value);
    }
    check(command.output().unwrap().into());

    let mut file = "format = 'json'\n[events]\n".to_owned();
    for (key, _, value) in values {
        let plain = value == "true" || key == "expected-events";
        let quote = if plain { "" } else { "'" };
        file += &format!("{key} = {quote}{value}{quote}\n");
    }
    // What the library knows and no flag says.
    file += "read-timeout = '3s'\nkey-prefix = 'x:'\ntls-ca = '/ca.pem'\nretries.max = 1\n";
    scene.write("other.toml", &file);
    check(scene.run(&["--config", "other.toml", "events", "check"]));
    // The other verbs take the same table.
    scene.run(&["--config", "other.toml", "events", "health"]).succeeded();

    let flags = values.map(|(flag, _, value)| format!("--{flag}={value}"));
    let mut args = vec!["events", "check", "--format", "json"];
    args.extend(flags.iter().map(String::as_str));
    check(scene.run(&args));
}

#[test]
fn mistakes_in_the_file_are_named() {
    for (file, says) in [
        ("[events]\nwindw = '1h'", &["[events]", "windw"][..]),
        ("[events]\nconnections = 'two'", &["[events]", "connections"]),
        ("[events]\nat-most-once = 'yes'", &["[events]", "at-most-once", "invalid type"]),
        ("[events]\nconnections = 0", &["0 connections"]),
        ("events = 1", &["line 1", "invalid type"]),
    ] {
        let scene = Scene::new();
        scene.write("tower-inbox.toml", file);
        scene.run(&["events", "check", "--id", "a", "--input", "in"]).failed(2, says);
    }
}

#[test]
fn help_says_what_is_promised_and_shows_no_secrets() {
    let ran: Ran = Scene::new()
        .command(&["events", "check", "--help"])
        .env("TOWER_INBOX_STORE", "redis://u:secret@h/")
        .output()
        .unwrap()
        .into();
    let help = ran.succeeded().stdout;
    for part in ["at least once", "which forgets at its end", "TOWER_INBOX_STORE"] {
        assert!(help.contains(part), "{part:?} is not in:\n{help}");
    }
    assert!(!help.contains("secret"), "{help}");
}

#[test]
fn a_memory_is_healthy_and_empty() {
    let scene = Scene::new();
    let ran = scene.run(&["events", "health"]).succeeded();
    assert!(ran.stdout.starts_with("memory: healthy"), "{ran:?}");
    let health = scene.run(&["events", "health", "--format", "json"]).json();
    assert_eq!((&health["healthy"], &health["store"]), (&true.into(), &"memory".into()));

    let ran = scene.run(&["events", "stats"]).succeeded();
    assert!(ran.stdout.contains("events   0\n"), "{ran:?}");
    assert!(ran.stderr.contains("has just begun"), "{ran:?}");
    let stats = scene.run(&["events", "stats", "--format", "json"]).json();
    assert_eq!(stats["facts"]["events"], 0);

    let ran = scene.run(&["events", "clear", "--dry-run"]).succeeded();
    assert!(ran.stdout.contains("would be forgotten"), "{ran:?}");
    let cleared = scene.run(&["events", "clear", "--yes", "--format", "json"]).json();
    assert_eq!((&cleared["cleared"], &cleared["dry_run"]), (&true.into(), &false.into()));
}
