use std::{
    fs::File,
    io::{self, Read, Seek},
    path::Path,
    process::{Command, Stdio},
};

use tempfile::tempfile;

use super::{operator, wait::wait_for};

/// Redis's command line client, on one server.
#[derive(Debug)]
pub(super) struct Cli<'a> {
    pub(super) program: &'a Path,
    pub(super) port: u16,
    /// Through TLS, where there is one.
    pub(super) ca: Option<&'a Path>,
    /// Whether it says who it is; a sentinel knows no users.
    pub(super) as_operator: bool,
}

impl Cli<'_> {
    /// Runs one command; returns what it printed.
    pub(super) fn run(&self, args: &[&str]) -> io::Result<String> {
        // Files, because a pipe would have to be emptied while we look at the clock.
        let (mut printed, mut complaint) = (tempfile()?, tempfile()?);
        let mut child = self
            .command()
            .args(args)
            .stdin(Stdio::null())
            .stdout(printed.try_clone()?)
            .stderr(complaint.try_clone()?)
            .spawn()?;
        // A server that is paused takes the command and does not answer.
        let ended = wait_for(&format!("redis-cli {args:?}"), || child.try_wait());
        if ended.is_err() {
            child.kill()?;
            child.wait()?;
        }
        let (status, printed) = (ended?, text(&mut printed)?);
        if status.success() {
            return Ok(printed);
        }
        let complaint = text(&mut complaint)?;
        let message = format!("redis-cli {args:?} failed ({status}): {printed}{complaint}");
        Err(io::Error::other(message))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        // The user's own password.
        command.env_remove("REDISCLI_AUTH");
        // Without -e an error is an answer like any other.
        command.args(["-e", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        if let Some(ca) = self.ca {
            command.arg("--tls").arg("--cacert").arg(ca);
        }
        if self.as_operator {
            command.args(["--user", operator::NAME]).env("REDISCLI_AUTH", operator::password());
        }
        command
    }
}

fn text(file: &mut File) -> io::Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}
