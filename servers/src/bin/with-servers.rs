//! Runs a command with private servers and the variables that name them.
//!
//! `with-servers CMD ARGS…` starts every server whose variable is not set, runs the command with
//! all variables set, stops the servers and exits as the command did. When it is ended by a
//! signal, of any kind, the command and the servers end too.

use std::{
    any::Any,
    env,
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt,
    process::{Command, ExitCode, ExitStatus},
};

use tower_inbox_servers::{PostgresServer, Watchdog};

fn main() -> ExitCode {
    let mut args = env::args_os().skip(1);
    let Some(program) = args.next() else {
        eprintln!("usage: with-servers CMD ARGS…");
        return ExitCode::from(2);
    };
    match run(program, args) {
        Ok(status) => exit_code(status),
        Err(error) => {
            eprintln!("with-servers: {error}");
            ExitCode::from(127)
        }
    }
}

fn run(program: OsString, args: impl Iterator<Item = OsString>) -> io::Result<ExitStatus> {
    let mut command = Command::new(&program);
    command.args(args);
    let _servers = start_servers(&mut command)?;
    let mut child = command.spawn().map_err(|error| {
        io::Error::new(error.kind(), format!("cannot run {}: {error}", program.display()))
    })?;
    let _watchdog = Watchdog::start("kill -TERM \"$1\"", [child.id().to_string()])?;
    child.wait()
}

/// Starts what is missing and tells the command; the servers stop when they are dropped.
fn start_servers(command: &mut Command) -> io::Result<Vec<Box<dyn Any>>> {
    let mut servers: Vec<Box<dyn Any>> = Vec::new();
    if is_missing("DATABASE_URL") {
        let postgres = PostgresServer::start()?;
        command.env("DATABASE_URL", postgres.url("postgres"));
        servers.push(Box::new(postgres));
    }
    Ok(servers)
}

fn is_missing(variable: &str) -> bool {
    env::var_os(variable).is_none_or(|value| value.is_empty())
}

/// As a shell reports it: 128 and the number of the signal.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
