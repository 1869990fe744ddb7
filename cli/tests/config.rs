//! Values come from flags, else from the environment, else from the config file.
#![cfg(feature = "sqlite")]

mod scene;

use scene::{Ran, Scene, orders};

fn consumer(ran: Ran) -> String {
    let ran = ran.succeeded();
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    report["consumer"].as_str().unwrap().to_owned()
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let scene = Scene::new();
    scene.write(
        "tower-inbox.toml",
        "format = 'json'\n[consume]\nkey = 'order_id'\nconsumer = 'of the file'\n",
    );
    let run = |args: &[&str], env: &[(&str, &str)]| -> Ran {
        scene.command(args).envs(env.iter().copied()).output().unwrap().into()
    };
    let env = [("TOWER_INBOX_CONSUMER", "of the environment")];
    assert_eq!(consumer(run(&["consume"], &[])), "of the file");
    assert_eq!(consumer(run(&["consume"], &env)), "of the environment");
    assert_eq!(consumer(run(&["consume", "--consumer", "of the flag"], &env)), "of the flag");
}

#[test]
fn every_flag_has_a_key_and_a_variable() {
    let scene = Scene::new();
    let stream = orders(4, 0) + "nonsense\n";
    scene.write("in.ndjson", &stream);
    let values = [
        ("input", "in.ndjson"),
        ("key", "order_id"),
        ("kind", "Order"),
        ("consumer", "billing"),
        ("window", "2days"),
        ("into", "orders"),
        ("lease", "10s"),
        ("in-flight-wait", "1s"),
        ("workers", "2"),
        ("max-line", "1MiB"),
        ("dead-letters", "dead"),
        ("migrate", "true"),
    ];
    let check = |ran: Ran, database: &str| {
        let report = ran.succeeded().report();
        assert_eq!((report.handled, report.dead_letters), (4, 1));
        assert_eq!(scene.sql(database, "select count(*) || '' from orders"), ["4"]);
        assert_eq!(
            scene.sql(database, "select name || window_s from tower_inbox_consumer"),
            ["billing172800"]
        );
        assert_eq!(scene.letters("dead").len(), 1);
    };

    let mut command = scene.command(&["consume"]);
    command.env("TOWER_INBOX_DATABASE", "sqlite://env.db").env("TOWER_INBOX_FORMAT", "json");
    for (name, value) in values {
        command.env(format!("TOWER_INBOX_{}", name.to_uppercase().replace('-', "_")), value);
    }
    check(command.output().unwrap().into(), "env.db");

    let mut file = "database = 'sqlite://file.db'\nformat = 'json'\n[consume]\n".to_owned();
    for (name, value) in values {
        let quote = if ["workers", "migrate"].contains(&name) { "" } else { "'" };
        file += &format!("{name} = {quote}{value}{quote}\n");
    }
    scene.write("other.toml", file);
    check(scene.run(&["--config", "other.toml", "consume"]), "file.db");

    let mut flags: Vec<String> =
        ["consume", "--database", "sqlite://flags.db", "--format", "json"].map(Into::into).into();
    for (name, value) in values {
        let flag = if name == "migrate" { "--migrate".into() } else { format!("--{name}={value}") };
        flags.push(flag);
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    check(scene.run(&flags), "flags.db");
}

#[test]
fn a_way_to_handle_replaces_that_of_a_weaker_place() {
    let scene = Scene::new();
    scene.write("tower-inbox.toml", "[consume]\nkey = 'order_id'\nexec = 'echo file'\n");
    scene.write("in", orders(1, 0));
    let run = |args: &[&str], env: &[(&str, &str)], consumer: &str| -> Ran {
        let more = ["--input", "in", "--consumer", consumer];
        let mut command = scene.command(&[&["consume"], args, &more].concat());
        let ran: Ran = command.envs(env.iter().copied()).output().unwrap().into();
        ran.succeeded()
    };
    let env = [("TOWER_INBOX_EXEC", "echo environment")];
    assert!(run(&[], &[], "1").stderr.contains("file"));
    assert!(run(&[], &env, "2").stderr.contains("environment"));
    assert_eq!(run(&["--stdout"], &env, "3").stdout, orders(1, 0));
    assert!(run(&["--stdout=false"], &env, "4").stderr.contains("environment"));
    run(&["--into", "here"], &env, "5");
    assert_eq!(scene.messages("here").len(), 1);

    let ran: Ran = scene
        .command(&["consume"])
        .env("TOWER_INBOX_STDOUT", "1")
        .env("TOWER_INBOX_INTO", "t")
        .output()
        .unwrap()
        .into();
    ran.failed(2, &["exclude each other"]);
}

#[test]
fn mistakes_in_the_file_are_named() {
    for (file, says) in [
        ("databse = 'x'", &["line 1", "unknown field `databse`"][..]),
        ("[consume]\nkey = 'a'\nwindows = '1d'", &["line 3", "unknown field `windows`"]),
        ("[consume]\nworkers = 'two'", &["line 2", "invalid type"]),
        ("format = 'xml'", &["line 1", "unknown variant `xml`"]),
        ("[consume", &["line 1"]),
        ("[consume]\nkey = 'order_id'\nwindow = '0s'", &["--window 0s: it must be"]),
        ("database = 'postgres://u:secret@h/d'\ndatabase = 'x'", &["line 2", "duplicate key"]),
    ] {
        let scene = Scene::new();
        scene.write("tower-inbox.toml", file);
        let ran = scene.run(&["consume"]);
        ran.failed(2, says);
        assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
    }
    let scene = Scene::new();
    scene.run(&["status", "--config", "none.toml"]).failed(2, &["config file none.toml"]);
}

#[test]
fn help_shows_variables_without_their_values() {
    let scene = Scene::new();
    let ran: Ran = scene
        .command(&["consume", "--help"])
        .env("TOWER_INBOX_DATABASE", "postgres://u:secret@h/d")
        .env("TOWER_INBOX_EXEC", "curl --user u:secret")
        .output()
        .unwrap()
        .into();
    let ran = ran.succeeded();
    assert!(ran.stdout.contains("TOWER_INBOX_DATABASE"));
    assert!(ran.stdout.contains("TOWER_INBOX_IN_FLIGHT_WAIT"));
    assert!(!ran.stdout.contains("secret"), "{}", ran.stdout);
}
