//! The command `with-servers`.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::{Ipv4Addr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

#[test]
fn the_exit_code_of_the_command_is_passed_on() {
    let status = with_servers("test -n \"$DATABASE_URL\" && exit 7").status().unwrap();
    assert_eq!(status.code(), Some(7));
}

#[test]
fn a_server_of_the_user_is_used_and_none_is_started() {
    let status = with_servers("test \"$DATABASE_URL\" = postgres://user@example.com/orders")
        .env("DATABASE_URL", "postgres://user@example.com/orders")
        .env("PG_BIN", "/nonexistent")
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn nothing_is_left_behind_when_it_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    // The command is watched from a moment after its start, so it waits before it reports.
    let mut killed = with_servers("sleep 0.5; echo \"$DATABASE_URL\"; exec sleep 60")
        .env("TMPDIR", directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(killed.stdout.take().unwrap());
    let mut url = String::new();
    output.read_line(&mut url).unwrap();
    let port = url.rsplit([':', '/']).nth(1).unwrap().parse().unwrap();
    assert!(is_open(port) && !is_empty(directory.path()));

    killed.kill().unwrap();
    killed.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    // Ends with the command, the last one that could write into it.
    output.read_to_end(&mut Vec::new()).unwrap();
    while is_open(port) || !is_empty(directory.path()) {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(20));
    }
    assert!(Instant::now() < deadline);
}

fn with_servers(script: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_with-servers"));
    command.args(["sh", "-c", script]).env_remove("DATABASE_URL");
    command
}

fn is_open(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}
