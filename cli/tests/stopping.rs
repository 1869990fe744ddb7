//! Killed, interrupted, out of room or side by side: nothing is lost and nothing is doubled.
#![cfg(feature = "sqlite")]

mod scene;

use std::{io::Write, process::Stdio, thread::sleep, time::Duration};

use scene::{Chance, Ran, Scene, TOWER_INBOX, distinct, interrupt, order, orders, send, wait_for};

#[test]
fn killed_and_started_again_each_message_is_in_the_table_once() {
    kill_while_inserting(1, 8);
    kill_while_inserting(2, 8);
}

#[test]
fn killed_and_started_again_each_message_reached_the_command() {
    kill_while_executing(1, 6);
}

#[test]
#[ignore = "long"]
fn killed_a_hundred_times() {
    for seed in 0..10 {
        kill_while_inserting(seed, 10);
        kill_while_executing(seed, 5);
    }
}

fn kill_while_inserting(seed: u64, kills: u64) {
    let scene = Scene::new();
    scene.write("in", orders(3000, 300));
    let consume = ["consume", "--input", "in", "--key", "order_id", "--format", "json"];
    let mut chance = Chance::new(seed);
    let mut killed = 0;
    for n in 1..=kills {
        killed += kill_after(&scene, &consume, 5 + chance.below(40 * n));
    }
    assert!(killed >= 2, "only {killed} runs were killed on the way");

    let last = scene.run(&consume).succeeded().report();
    assert_eq!((last.delivered, last.handled + last.duplicates), (3300, 3300));
    let messages = scene.messages("messages");
    assert_eq!(messages.len(), 3000, "something was doubled or lost");
    assert_eq!(distinct(&messages).len(), 3000);
    let check = scene.sql("tower-inbox.db", "pragma integrity_check");
    assert_eq!(check, ["ok"]);
}

fn kill_while_executing(seed: u64, kills: u64) {
    let scene = Scene::new();
    scene.write("in", orders(150, 15));
    let consume = [
        "consume",
        "--input",
        "in",
        "--key",
        "order_id",
        "--format",
        "json",
        "--lease",
        "1s",
        "--exec",
        "cat >> out",
    ];
    let mut chance = Chance::new(seed);
    let mut killed = 0;
    for n in 1..=kills {
        killed += kill_after(&scene, &consume, 5 + chance.below(80 * n));
    }
    assert!(killed >= 2, "only {killed} runs were killed on the way");

    let last = scene.run(&consume).succeeded().report();
    assert_eq!((last.delivered, last.handled + last.duplicates), (165, 165));
    let lines: Vec<String> = scene.read("out").lines().map(str::to_owned).collect();
    let all: Vec<String> = distinct(&(0..150).map(order).collect::<Vec<_>>());
    assert_eq!(distinct(&lines), all);
    // At least once: what was under way at a kill may have been done twice, and nothing else.
    assert!(lines.len() <= 150 + killed, "{} lines after {killed} kills", lines.len());
}

/// 1 if it was killed before it had finished.
fn kill_after(scene: &Scene, args: &[&str], millis: u64) -> usize {
    let mut child = scene.spawn(args, Stdio::null());
    sleep(Duration::from_millis(millis));
    child.kill().unwrap();
    let ran = child.wait_with_output().unwrap();
    usize::from(!ran.status.success())
}

#[test]
fn an_interrupted_run_reports_and_the_next_one_goes_on() {
    for signal in ["INT", "TERM"] {
        let scene = Scene::new();
        scene.write("in", orders(20_000, 0));
        let consume = ["consume", "--input", "in", "--key", "order_id", "--format", "json"];
        let child = scene.spawn(&consume, Stdio::null());
        wait_for(|| scene.count("messages") > 0);
        let ran = interrupt(child, signal);
        ran.failed(1, &["stopped by a signal: run the same command again to go on"]);
        let done = ran.report();
        assert!((1..20_000).contains(&done.handled), "{done:?}");
        assert_eq!(scene.messages("messages").len() as u64, done.handled);

        let consume = [&consume[..], &["--into", "messages"]].concat();
        scene.write("in", orders(20_000, 0).lines().take(300).collect::<Vec<_>>().join("\n"));
        let next = scene.run(&consume).succeeded().report();
        assert_eq!(next.duplicates, done.handled.min(300));
        assert_eq!(next.delivered, 300);
    }
}

#[test]
fn an_interrupt_lets_the_command_under_way_end() {
    // With lines to come, and with the last one under way.
    for count in [5, 1] {
        let scene = Scene::new();
        scene.write("in", orders(count, 0));
        let command = "echo begun >> out; sleep 2; echo ended >> out";
        let consume = [
            "consume", "--input", "in", "--key", "order_id", "--format", "json", "--exec", command,
        ];
        let child = scene.spawn(&consume, Stdio::null());
        wait_for(|| scene.path("out").exists());
        let ran = interrupt(child, "INT");
        ran.failed(1, &["stopped by a signal"]);
        assert_eq!((ran.report().delivered, ran.report().handled), (1, 1));
        assert_eq!(scene.read("out"), "begun\nended\n");
    }
}

#[test]
fn a_second_interrupt_ends_the_command_too() {
    let scene = Scene::new();
    scene.write("in", orders(5, 0));
    let consume = [
        "consume",
        "--input",
        "in",
        "--key",
        "order_id",
        "--format",
        "json",
        "--exec",
        "echo begun >> out; (sleep 3; echo late >> out) & wait",
    ];
    let child = scene.spawn(&consume, Stdio::null());
    wait_for(|| scene.path("out").exists());
    send(&child, "INT");
    sleep(Duration::from_millis(300));
    let ran = interrupt(child, "INT");
    ran.failed(1, &["stopped by a signal"]);
    assert_eq!(ran.report().delivered, 0);
    // What the shell had started is gone as well.
    sleep(Duration::from_secs(4));
    assert_eq!(scene.read("out"), "begun\n");
}

#[test]
fn an_interrupt_ends_the_wait_for_a_silent_input_and_for_others() {
    let scene = Scene::new();
    // Nothing comes.
    let mut silent = scene.spawn(&["consume", "--key", "order_id"], Stdio::piped());
    let stdin = silent.stdin.take();
    wait_for(|| scene.path("tower-inbox.db").exists());
    sleep(Duration::from_millis(500));
    interrupt(silent, "INT").failed(1, &["stopped by a signal"]);
    drop(stdin);

    // Somebody else has the message.
    let busy = ["consume", "--key", "order_id", "--exec", "touch begun; sleep 5"];
    let mut other = scene.spawn(&busy, Stdio::piped());
    other.stdin.take().unwrap().write_all(order(1).as_bytes()).unwrap();
    wait_for(|| scene.path("begun").exists());
    let mut waiting = scene.spawn(
        &["consume", "--key", "order_id", "--exec", "true", "--format", "json"],
        Stdio::piped(),
    );
    waiting.stdin.take().unwrap().write_all(order(1).as_bytes()).unwrap();
    sleep(Duration::from_millis(800));
    let ran = interrupt(waiting, "INT");
    ran.failed(1, &["stopped by a signal"]);
    assert_eq!(ran.report().in_flight, 1);
    assert!(other.wait().unwrap().success());
}

#[test]
fn two_runs_side_by_side_handle_each_message_once() {
    let scene = Scene::new();
    scene.write("in", orders(1500, 150));
    let consume =
        ["consume", "--input", "in", "--key", "order_id", "--format", "json", "--dead-letters"];
    // Both make and migrate the file.
    let one = scene.spawn(&[&consume[..], &["dead1"]].concat(), Stdio::null());
    let two = scene.spawn(&[&consume[..], &["dead2"]].concat(), Stdio::null());
    let reports = [one, two].map(|child| {
        let ran: Ran = child.wait_with_output().unwrap().into();
        ran.succeeded().report()
    });
    assert_eq!(reports[0].handled + reports[1].handled, 1500, "{reports:?}");
    assert_eq!(reports[0].duplicates + reports[1].duplicates, 1800, "{reports:?}");
    let messages = scene.messages("messages");
    assert_eq!((messages.len(), distinct(&messages).len()), (1500, 1500));
}

/// A disk of a megabyte. Not every container lets us have one; a file that may not grow, below, is a
/// full disk everywhere.
#[test]
#[ignore = "mounts a file system in a namespace of its own"]
fn a_full_disk_stops_the_run_and_with_room_the_next_one_completes_it() {
    let scene = Scene::new();
    scene.write("in", orders(4000, 400));
    let script = r#"
        mkdir disk && mount -t tmpfs -o size=700k none disk || exit 99
        consume() {
            "$1" consume --input in --key order_id --format json --database sqlite://disk/inbox.db
        }
        consume "$1" > first 2> errors; echo $? > code
        mount -o remount,size=20m disk || exit 99
        consume "$1" > second && consume "$1" > third && cp disk/inbox.db .
    "#;
    let ran: Ran = scene
        .program("unshare", &["-rm", "sh", "-c", script, "sh", TOWER_INBOX])
        .output()
        .unwrap()
        .into();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let first = Ran {
        code: scene.read("code").trim().parse().ok(),
        stdout: scene.read("first"),
        stderr: scene.read("errors"),
    };
    first.failed(1, &["the disk is full", "what to do: make room and run the same command again"]);
    let first = first.report();
    let report = |name: &str| {
        Ran { code: Some(0), stdout: scene.read(name), stderr: String::new() }.report()
    };
    let (second, third) = (report("second"), report("third"));
    assert!((1..4000).contains(&first.handled), "{first:?}");
    assert_eq!(first.handled + second.handled, 4000, "{first:?} {second:?}");
    assert_eq!((second.delivered, third.duplicates), (4400, 4400));
    let messages = scene.sql("inbox.db", "select message from messages");
    assert_eq!((messages.len(), distinct(&messages).len()), (4000, 4000));
}

/// The same without any rights: a file may not grow beyond a limit.
#[test]
fn a_file_that_may_not_grow_stops_the_run_and_the_next_one_completes_it() {
    let scene = Scene::new();
    scene.write("in", orders(4000, 0));
    let script = r#"
        trap '' XFSZ
        ulimit -f 800
        exec "$1" consume --input in --key order_id --format json
    "#;
    let ran: Ran = scene.program("sh", &["-c", script, "sh", TOWER_INBOX]).output().unwrap().into();
    ran.failed(1, &["error: could not", "what to do:"]);
    let first = ran.report();
    assert!((1..4000).contains(&first.handled), "{first:?}");

    let consume = ["consume", "--input", "in", "--key", "order_id", "--format", "json"];
    let second = scene.run(&consume).succeeded().report();
    assert_eq!(first.handled + second.handled, 4000);
    let messages = scene.messages("messages");
    assert_eq!((messages.len(), distinct(&messages).len()), (4000, 4000));
}

#[test]
fn a_file_that_somebody_holds_is_waited_for() {
    let scene = Scene::new();
    let mut child =
        scene.spawn(&["consume", "--key", "order_id", "--format", "json"], Stdio::piped());
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{}", order(0)).unwrap();
    wait_for(|| scene.count("messages") == 1);

    scene::block_on(async {
        use sqlx::{Connection, SqliteConnection};
        let url = format!("sqlite://{}", scene.path("tower-inbox.db").display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        sqlx::raw_sql("begin immediate").execute(&mut connection).await.unwrap();
        stdin.write_all(orders(3, 0).as_bytes()).unwrap();
        // Longer than the store's own busy timeout.
        tokio::time::sleep(Duration::from_secs(12)).await;
        sqlx::raw_sql("rollback").execute(&mut connection).await.unwrap();
    });
    drop(stdin);
    let ran: Ran = child.wait_with_output().unwrap().into();
    let report = ran.succeeded().report();
    assert_eq!((report.handled, report.duplicates), (3, 1));
}
