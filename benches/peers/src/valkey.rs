use std::{
    fs, io,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tower_inbox_servers::Watchdog;

use crate::printed;

/// A private Valkey or Redis server on a unix socket, which has every write on disk before it answers
/// and evicts nothing, as `idempotent` asks for.
pub(crate) struct Valkey {
    name: &'static str,
    server: Child,
    // In this order: the directory goes before the watchdog that would remove it.
    directory: TempDir,
    _watchdog: Watchdog,
}

impl Valkey {
    pub(crate) fn start() -> io::Result<Self> {
        let (name, program) = PROGRAMS
            .into_iter()
            .find(|(_, program)| printed(program, &["--version"]).is_ok())
            .ok_or_else(|| io::Error::other("neither valkey-server nor redis-server is there"))?;
        let directory = tempfile::tempdir()?;
        let socket = directory.path().join(SOCKET);
        let server = Command::new(program)
            .args(["--port", "0", "--save", "", "--appendonly", "yes", "--appendfsync", "always"])
            .args(["--maxmemory-policy", "noeviction", "--unixsocket"])
            .arg(&socket)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let id = server.id().to_string();
        let watchdog = Watchdog::start(CLEAN_UP, [Path::new(&id), directory.path()])?;
        let mut valkey = Self { name, server, directory, _watchdog: watchdog };
        valkey.wait_until_ready(&socket)?;
        Ok(valkey)
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn version(&self) -> io::Result<String> {
        let program = PROGRAMS.into_iter().find(|(name, _)| *name == self.name);
        let (_, program) = program.ok_or_else(|| io::Error::other("the server has no name"))?;
        let line = printed(program, &["--version"])?;
        let version = line.split_whitespace().find_map(|word| word.strip_prefix("v="));
        Ok(version.unwrap_or(&line).to_owned())
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.directory.path().join(SOCKET).display())
    }

    fn wait_until_ready(&mut self, socket: &Path) -> io::Result<()> {
        let began = Instant::now();
        while !fs::exists(socket)? {
            if let Some(status) = self.server.try_wait()? {
                return Err(io::Error::other(format!("its server ended: {status}")));
            }
            if began.elapsed() > PATIENCE {
                return Err(io::Error::other("its server does not come up"));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Valkey {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

const PROGRAMS: [(&str, &str); 2] = [("Valkey", "valkey-server"), ("Redis", "redis-server")];
const SOCKET: &str = "socket";
const PATIENCE: Duration = Duration::from_secs(10);
const CLEAN_UP: &str = "kill -KILL \"$1\"; sleep 0.1; rm -rf \"$2\"";
