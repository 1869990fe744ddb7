use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::config::Config;
use crate::{
    Watchdog,
    daemon::{Daemon, Program, watch},
    directory::create_directory,
    log::Log,
    program::find_program,
};

/// A process of `redis-server` with a directory of its own, which holds its configuration too.
#[derive(Debug)]
pub(super) struct Process {
    role: Role,
    program: PathBuf,
    daemon: Option<Daemon>,
    log: Log,
    // Fields are dropped in order: the directory first, then the watchdog that would remove it.
    directory: TempDir,
    _watchdog: Watchdog,
}

/// What the program is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    /// One that holds data.
    Server,
    /// One that watches those.
    Sentinel,
}

impl Process {
    /// Takes everything that the process needs, and starts nothing.
    pub(super) fn prepare(role: Role) -> io::Result<Self> {
        let program = find_program("redis-server", "REDIS_BIN", &["/usr/bin"])?;
        let directory = create_directory("redis")?;
        let watchdog = watch(directory.path())?;
        Ok(Self {
            role,
            program,
            daemon: None,
            log: Log::new(directory.path().join("log")),
            directory,
            _watchdog: watchdog,
        })
    }

    /// Replaces the configuration, of which the process keeps its own version from then on.
    pub(super) fn configure(&self, config: &Config) -> io::Result<()> {
        fs::write(self.config_file(), config.text())
    }

    /// Starts the process as configured and waits until it serves. Does nothing when it runs.
    pub(super) fn start(&mut self) -> io::Result<()> {
        if let Some(daemon) = &mut self.daemon
            && daemon.ended()?.is_none()
        {
            return Ok(());
        }
        // It has ended, and its number may be somebody else's by now.
        self.daemon = None;
        let (flags, ready): (&[&str], _) = match self.role {
            Role::Server => (&[], "Ready to accept connections"),
            Role::Sentinel => (&["--sentinel"], "Sentinel ID is"),
        };
        let mut redis = Command::new(&self.program);
        redis.arg(self.config_file()).args(flags);
        let program = Program {
            name: "redis-server",
            directory: self.directory(),
            log: &self.log,
            ready,
            port_taken: "Address already in use",
        };
        self.daemon = Some(Daemon::start(&redis, program)?);
        Ok(())
    }

    pub(super) fn stop(&mut self) -> io::Result<()> {
        self.daemon.take().map_or(Ok(()), Daemon::stop)
    }

    pub(super) fn kill(&mut self) -> io::Result<()> {
        self.daemon.take().map_or(Ok(()), Daemon::kill)
    }

    /// Does nothing when the process was ended by us.
    pub(super) fn signal(&self, name: &str) -> io::Result<()> {
        self.daemon.as_ref().map_or(Ok(()), |daemon| daemon.signal(name))
    }

    pub(super) fn id(&self) -> Option<u32> {
        self.daemon.as_ref().map(Daemon::id)
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// `redis-cli`, which comes with the server.
    pub(super) fn client(&self) -> PathBuf {
        self.program.with_file_name("redis-cli")
    }

    fn config_file(&self) -> PathBuf {
        self.directory().join("redis.conf")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ends one that is paused as well.
        let _ = self.kill();
    }
}
