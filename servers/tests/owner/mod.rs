//! The owner of a server, as a process that can be killed.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read},
    net::{Ipv4Addr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Runs the test `owner_process` of this file in a process of its own, kills it with -9 once it has
/// called [`wait_to_be_killed`], and waits until its server and all files are gone.
pub(crate) fn kill_owner() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let mut owner = Command::new(env::current_exe().unwrap())
        .args(["owner_process", "--exact", "--nocapture"])
        .env(OWNER, "1")
        .env("TMPDIR", directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(owner.stdout.take().unwrap());
    let port = output
        .by_ref()
        .lines()
        .find_map(|line| line.unwrap().strip_prefix(PORT)?.parse().ok())
        .expect("the owner failed");
    assert!(is_open(port) && !is_empty(directory.path()));

    owner.kill().unwrap();
    owner.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while is_open(port) || !is_empty(directory.path()) {
        assert!(Instant::now() < deadline, "something is left behind");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Whether this process was started by [`kill_owner`].
pub(crate) fn is_owner() -> bool {
    env::var_os(OWNER).is_some()
}

/// Called by the owner of a server on this port.
pub(crate) fn wait_to_be_killed(port: u16) {
    // The harness may have begun the line.
    println!("\n{PORT}{port}");
    thread::sleep(Duration::from_secs(60));
}

fn is_open(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

const OWNER: &str = "TOWER_INBOX_TEST_OWNER";
const PORT: &str = "port ";
