use std::{fs, path::Path, process::Command, thread};

use super::Args;

/// Prints what a reader needs to judge the numbers, or to get them again.
pub(crate) fn print_machine(command: &str, args: &Args, databases: &[(&str, String)]) {
    println!("command  {}", args.command(command));
    println!(
        "machine  {} cores, shared by client and server; load before {}",
        thread::available_parallelism().map_or(0, usize::from),
        load(),
    );
    let mut versions = vec![
        rustc(),
        format!("tower-inbox {}", locked("tower-inbox")),
        format!("sqlx {}", locked("sqlx")),
        format!("xxhash-rust {}", locked("xxhash-rust")),
    ];
    versions.extend(databases.iter().map(|(name, version)| format!("{name} {version}")));
    println!("versions {}", versions.join(", "));
    println!(
        "rounds   {}, interleaved; median of the ratios within a round [min – max]\n",
        args.rounds()
    );
}

/// The kind of file system that a path is on.
pub(crate) fn filesystem(path: &Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(mount, _)| path.starts_with(mount))
        .max_by_key(|(mount, _)| mount.len())
        .map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}

fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or("unknown").to_owned()
}

fn rustc() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let version = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let version = version.unwrap_or_default();
    version.split(" (").next().unwrap_or_default().trim().to_owned()
}

/// The version of a dependency in the lock file.
pub(crate) fn locked(name: &str) -> String {
    let lock = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock"));
    let lock = lock.unwrap_or_default();
    let package = format!("name = \"{name}\"\nversion = \"");
    lock.split(&package)
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap_or("unknown")
        .to_owned()
}
