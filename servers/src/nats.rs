use std::{io, path::PathBuf, process::Command};

use tempfile::TempDir;

use crate::{
    Watchdog,
    daemon::{Daemon, Program, watch},
    directory::create_directory,
    log::Log,
    port::{free_port, retry_taken_ports},
    program::find_program,
};

/// A private NATS server with JetStream and a data directory of its own.
///
/// It listens on a loopback port and lets everybody in. Dropping the value stops the server and
/// removes the directory; so does the death of the process.
#[derive(Debug)]
pub struct NatsServer {
    program: PathBuf,
    port: u16,
    daemon: Option<Daemon>,
    log: Log,
    // Fields are dropped in order: the directory first, then the watchdog that would remove it.
    directory: TempDir,
    _watchdog: Watchdog,
}

impl NatsServer {
    /// Starts a server and waits until it serves.
    ///
    /// `nats-server` is taken from the directory that the variable `NATS_BIN` names, or else from
    /// `/usr/sbin` or `PATH`.
    ///
    /// # Errors
    ///
    /// When the program is not found, or when it fails; the error then ends with the last lines of
    /// its log.
    pub fn start() -> io::Result<Self> {
        let program = find_program("nats-server", "NATS_BIN", &["/usr/sbin"])?;
        let directory = create_directory("nats")?;
        let watchdog = watch(directory.path())?;
        let mut server = Self {
            program,
            port: 0,
            daemon: None,
            log: Log::new(directory.path().join("log")),
            directory,
            _watchdog: watchdog,
        };
        retry_taken_ports(|| {
            server.port = free_port()?;
            server.start_again()
        })?;
        Ok(server)
    }

    /// The URL for clients.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The loopback port, which stays the same over [`start_again`](Self::start_again).
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills the server with -9: no goodbye to clients, no last flush.
    ///
    /// Does nothing when the server is already stopped. What JetStream has acknowledged survives,
    /// because the system still has what was written.
    ///
    /// # Errors
    ///
    /// When the process can neither be signalled nor waited for.
    pub fn stop_immediate(&mut self) -> io::Result<()> {
        self.daemon.take().map_or(Ok(()), Daemon::kill)
    }

    /// Starts a stopped server on its old data and port, and waits until it serves.
    ///
    /// Does nothing when the server is running.
    ///
    /// # Errors
    ///
    /// When the server does not come up, with the last lines of its log; of kind `AddrInUse` when
    /// somebody else has taken the port.
    pub fn start_again(&mut self) -> io::Result<()> {
        if let Some(daemon) = &mut self.daemon
            && daemon.ended()?.is_none()
        {
            return Ok(());
        }
        let mut nats = Command::new(&self.program);
        nats.args(["--addr", "127.0.0.1"])
            .args(["--port", &self.port.to_string()])
            .args(["--jetstream", "--store_dir"])
            .arg(self.directory.path().join("data"));
        let program = Program {
            name: "nats-server",
            directory: self.directory.path(),
            log: &self.log,
            ready: "Server is ready",
            port_taken: "address already in use",
        };
        self.daemon = Some(Daemon::start(&nats, program)?);
        Ok(())
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        let _ = self.stop_immediate();
    }
}
