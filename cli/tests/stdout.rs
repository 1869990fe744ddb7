//! `consume --stdout`: a filter.
#![cfg(feature = "sqlite")]

mod scene;

use std::{
    io::{BufRead, BufReader, Write},
    process::Stdio,
};

use scene::{Ran, Report, Scene, orders};

const PRINT: [&str; 6] = ["consume", "--key", "order_id", "--stdout", "--format", "json"];

#[test]
fn lines_go_to_standard_output_and_the_report_to_standard_error() {
    let scene = Scene::new();
    let stream = orders(50, 0);
    let ran = scene.run_with_input(&PRINT, &stream).succeeded();
    assert_eq!(ran.stdout, stream);
    assert_eq!(Report::parse(&ran.stderr, &ran).handled, 50);

    let ran = scene.run_with_input(&PRINT, &stream).succeeded();
    assert_eq!(ran.stdout, "");
    assert_eq!(Report::parse(&ran.stderr, &ran).duplicates, 50);
}

#[test]
fn a_line_is_there_as_soon_as_it_is_handled() {
    let scene = Scene::new();
    let mut child = scene.spawn(&PRINT, Stdio::piped());
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for line in orders(3, 0).lines() {
        writeln!(stdin, "{line}").unwrap();
        let mut printed = String::new();
        stdout.read_line(&mut printed).unwrap();
        assert_eq!(printed.trim_end(), line);
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn when_nobody_reads_on_the_run_ends_quietly_and_the_rest_stays_new() {
    let scene = Scene::new();
    // More than a pipe holds.
    let stream = orders(4000, 0);
    scene.write("in", &stream);
    let mut child = scene.spawn(&[&PRINT[..], &["--input", "in"]].concat(), Stdio::null());
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    drop(stdout);
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(!ran.stderr.contains("error"), "{}", ran.stderr);
    let printed = Report::parse(&ran.stderr, &ran).handled;
    assert!(printed < 4000, "{printed}");

    let ran = scene.run_with_input(&PRINT, &stream).succeeded();
    let rest = Report::parse(&ran.stderr, &ran);
    assert_eq!((rest.handled, rest.duplicates), (4000 - printed, printed));
}

#[test]
fn a_report_that_nobody_reads_ends_quietly() {
    let scene = Scene::new();
    let mut child = scene.spawn(&["consume", "--key", "order_id"], Stdio::piped());
    drop(child.stdout.take());
    drop(child.stdin.take());
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!((ran.code, &*ran.stderr), (Some(1), ""));
}

#[test]
fn a_full_disk_behind_standard_output_stops_the_run() {
    let scene = Scene::new();
    scene.write("in", orders(5, 0));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = scene.command(&[&PRINT[..], &["--input", "in"]].concat());
    let ran: Ran = command.stdout(full).output().unwrap().into();
    ran.failed(1, &["could not write to standard output", "No space left"]);
    assert_eq!(Report::parse(&ran.stderr, &ran).handled, 0);
}
