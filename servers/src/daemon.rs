use std::{
    ffi::OsStr,
    fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{Watchdog, log::Log};

/// A program that serves until it is killed, in a process group of its own.
///
/// The number of the group is in the file `NAME.pid` of the server's directory before the program
/// begins, where the shell of [`watch`] finds it.
#[derive(Debug)]
pub(crate) struct Daemon {
    leader: Child,
    pid_file: PathBuf,
}

/// What there is to know about a program besides its command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program<'a> {
    pub(crate) name: &'a str,
    pub(crate) directory: &'a Path,
    pub(crate) log: &'a Log,
    /// What the log says when the program serves. Not asked through the port, where another server
    /// may answer.
    pub(crate) ready: &'a str,
    /// What the log says when a port belongs to somebody else.
    pub(crate) port_taken: &'a str,
}

impl Daemon {
    /// Starts the program with the arguments and variables of the command, and waits until it
    /// serves.
    ///
    /// The error ends with the last lines of the log, and is of kind `AddrInUse` when a port was
    /// taken.
    pub(crate) fn start(command: &Command, program: Program<'_>) -> io::Result<Self> {
        let log_start = program.log.len();
        let mut daemon = Self::spawn(command, program)?;
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let ended = daemon.ended()?;
            if program.log.has_since(log_start, program.ready) {
                return Ok(daemon);
            }
            let (kind, event) = if let Some(status) = ended {
                let kind = if program.log.has_since(log_start, program.port_taken) {
                    io::ErrorKind::AddrInUse
                } else {
                    io::ErrorKind::Other
                };
                (kind, format!("failed ({status})"))
            } else if Instant::now() > deadline {
                daemon.kill()?;
                (io::ErrorKind::TimedOut, format!("is not ready after {START_TIMEOUT:?}"))
            } else {
                thread::sleep(POLL_INTERVAL);
                continue;
            };
            let (name, log) = (program.name, program.log.since(log_start));
            return Err(io::Error::new(
                kind,
                format!("{name} {event}; the end of its log:\n{log}"),
            ));
        }
    }

    fn spawn(command: &Command, program: Program<'_>) -> io::Result<Self> {
        let pid_file = program.directory.join(program.name).with_extension("pid");
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
            .arg(&pid_file)
            .arg(command.get_program())
            .args(command.get_args());
        for (variable, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(variable, value),
                None => shell.env_remove(variable),
            };
        }
        // In a process group of its own: Ctrl-C is meant for us, and the server follows.
        let leader = shell
            .current_dir(program.directory)
            .env("LC_ALL", "C")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(program.log.open()?)
            .stderr(program.log.open()?)
            .spawn()?;
        Ok(Self { leader, pid_file })
    }

    /// The number of the program's process, which is that of the group as well.
    pub(crate) fn id(&self) -> u32 {
        self.leader.id()
    }

    /// How the program ended, if it did.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        let ended = self.leader.try_wait()?;
        if ended.is_some() {
            self.forget()?;
        }
        Ok(ended)
    }

    /// Sends a signal such as `STOP` to every process of the group.
    ///
    /// Not to be called once [`ended`](Self::ended) has told of an end: until the process is waited
    /// for it keeps its number, even if it died in between, and then no longer.
    pub(crate) fn signal(&self, name: &str) -> io::Result<()> {
        let sent = Command::new("sh")
            .args(["-c", "kill \"-$1\" \"-$2\"", "sh", name, &self.id().to_string()])
            .status()?;
        if sent.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("a process group could not be sent SIG{name}")))
        }
    }

    /// Asks the program to end, and kills it when it takes too long.
    pub(crate) fn stop(mut self) -> io::Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        self.signal("TERM")?;
        // One that is paused would not hear it.
        self.signal("CONT")?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            if self.ended()?.is_some() {
                return Ok(());
            }
            thread::sleep(POLL_INTERVAL);
        }
        self.kill()
    }

    /// Kills every process of the group, as the kernel does when memory runs out.
    pub(crate) fn kill(mut self) -> io::Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        self.signal("KILL")?;
        self.forget()?;
        self.leader.wait().map(drop)
    }

    /// Takes the number away from the watchdog, before it can become somebody else's.
    fn forget(&self) -> io::Result<()> {
        match fs::remove_file(&self.pid_file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Watches over the daemons of a directory: kills them and removes it when this process dies.
pub(crate) fn watch(directory: impl AsRef<OsStr>) -> io::Result<Watchdog> {
    Watchdog::start(CLEAN_UP, [directory])
}

/// What the watchdog does to the directory `$1`.
const CLEAN_UP: &str = r#"
# What is being started needs a moment to write its number down.
sleep 0.1
for pid_file in "$1"/*.pid; do
    [ -e "$pid_file" ] && kill -KILL "-$(cat "$pid_file")"
done
# What was killed may still be writing for a moment.
rm -rf "$1" || { sleep 1; rm -rf "$1"; }
"#;

// A broker that recovers its queues on a machine that is busy with other tests.
const START_TIMEOUT: Duration = Duration::from_secs(120);

// A Redis server gives its replicas 10 s to receive the rest.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

const POLL_INTERVAL: Duration = Duration::from_millis(20);
