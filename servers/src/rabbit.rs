use std::{
    env,
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    Watchdog,
    daemon::{Daemon, Program, watch},
    directory::create_directory,
    log::Log,
    port::{free_port, retry_taken_ports},
    program::find_program,
};

/// A private RabbitMQ server with a data directory of its own.
///
/// It listens on a loopback port for AMQP 0-9-1, has the user `guest`, and no plugins. Erlang's port
/// mapper, by which the nodes of a machine find each other, is its own too, so it meets no other
/// node and is met by none. Dropping the value stops everything and removes the directory; so does
/// the death of the process.
///
/// Runs under the account of this process, root included.
#[derive(Debug)]
pub struct RabbitServer {
    program: PathBuf,
    port: u16,
    /// Of Erlang: the node's own, and the port mapper's.
    node_port: u16,
    mapper_port: u16,
    // Fields are dropped in order: the node first, then its port mapper, then the directory, then
    // the watchdog that would remove it.
    node: Option<Daemon>,
    mapper: Option<Daemon>,
    log: Log,
    directory: TempDir,
    _watchdog: Watchdog,
}

impl RabbitServer {
    /// Starts a server and waits until it serves, which takes some seconds.
    ///
    /// `rabbitmq-server` is taken from the directory that the variable `RABBITMQ_BIN` names, or else
    /// from `/usr/lib/rabbitmq/bin` or `PATH`; `epmd`, which comes with Erlang, from `PATH`.
    ///
    /// # Errors
    ///
    /// When a program is not found, or when one fails; the error then ends with the last lines of
    /// their log.
    pub fn start() -> io::Result<Self> {
        // Debian's script of this name in PATH changes the account and writes to /var/log.
        let program = find_program("rabbitmq-server", "RABBITMQ_BIN", &["/usr/lib/rabbitmq/bin"])?;
        let directory = create_directory("rabbit")?;
        let watchdog = watch(directory.path())?;
        let mut server = Self {
            program,
            port: 0,
            node_port: 0,
            mapper_port: 0,
            node: None,
            mapper: None,
            log: Log::new(directory.path().join("log")),
            directory,
            _watchdog: watchdog,
        };
        retry_taken_ports(|| {
            server.mapper_port = free_port()?;
            server.start_mapper()
        })?;
        retry_taken_ports(|| {
            server.port = free_port()?;
            server.node_port = free_port()?;
            server.start_again()
        })?;
        Ok(server)
    }

    /// The URL of the virtual host `/` for clients.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// The loopback port, which stays the same over [`start_again`](Self::start_again).
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills the server with -9: no goodbye to clients, no last flush.
    ///
    /// Does nothing when the server is already stopped. Persistent messages that were confirmed and
    /// are in durable queues survive.
    ///
    /// # Errors
    ///
    /// When the processes can neither be signalled nor waited for.
    pub fn stop_immediate(&mut self) -> io::Result<()> {
        self.node.take().map_or(Ok(()), Daemon::kill)
    }

    /// Starts a stopped server on its old data and ports, and waits until it serves.
    ///
    /// Does nothing when the server is running.
    ///
    /// # Errors
    ///
    /// When the server does not come up, with the last lines of its log; of kind `AddrInUse` when
    /// somebody else has taken a port.
    pub fn start_again(&mut self) -> io::Result<()> {
        if let Some(node) = &mut self.node
            && node.ended()?.is_none()
        {
            return Ok(());
        }
        let at = |name: &str| self.directory().join(name);
        fs::write(at("rabbitmq.conf"), format!("listeners.tcp.1 = 127.0.0.1:{}\n", self.port))?;
        fs::write(at("enabled_plugins"), "[].\n")?;
        fs::write(at("environment.conf"), "")?;

        let mut rabbit = self.command(&self.program);
        rabbit
            // Makes the script become the node instead of its parent, so that who has waited for it
            // knows that the ports are free.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .env("RABBITMQ_DIST_PORT", self.node_port.to_string())
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", LOOPBACK)
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_LOG_BASE", at("logs"))
            .env("RABBITMQ_MNESIA_BASE", at("data"))
            .env("RABBITMQ_PID_FILE", at("node"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", at("generated"))
            .env("RABBITMQ_SCHEMA_DIR", at("schema"))
            .env("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", at("advanced.config"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("enabled_plugins"));
        let program = Program {
            name: "rabbitmq-server",
            directory: self.directory(),
            log: &self.log,
            ready: "Server startup complete",
            port_taken: "eaddrinuse",
        };
        self.node = Some(Daemon::start(&rabbit, program)?);
        Ok(())
    }

    /// Runs `rabbitmqctl` on the server, which takes a second or two; returns what it printed.
    ///
    /// # Errors
    ///
    /// When it fails; the error holds what it printed.
    pub fn ctl(&self, args: &[&str]) -> io::Result<String> {
        let port = free_port()?.to_string();
        let output = self
            .command(&self.program.with_file_name("rabbitmqctl"))
            .env("RABBITMQ_CTL_ERL_ARGS", LOOPBACK)
            .env("RABBITMQ_CTL_DIST_PORT_MIN", &port)
            .env("RABBITMQ_CTL_DIST_PORT_MAX", &port)
            .arg("--quiet")
            .args(args)
            .stdin(Stdio::null())
            .output()?;
        let printed = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        if output.status.success() {
            return Ok(printed);
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        let message =
            format!("rabbitmqctl failed ({}): {printed} {}", output.status, complaint.trim_end());
        Err(io::Error::other(message))
    }

    /// Starts Erlang's port mapper, which would otherwise be started by the node, for all nodes of
    /// the machine, and outlive it.
    fn start_mapper(&mut self) -> io::Result<()> {
        let mut epmd = self.command(&find_program("epmd", "ERLANG_BIN", &[])?);
        // Twice, to hear when it serves.
        epmd.args(["-d", "-d", "-address", "127.0.0.1"])
            .args(["-port", &self.mapper_port.to_string()]);
        let program = Program {
            name: "epmd",
            directory: self.directory(),
            log: &self.log,
            ready: "entering the main select() loop",
            port_taken: "already a epmd running",
        };
        self.mapper = Some(Daemon::start(&epmd, program)?);
        Ok(())
    }

    /// A command that does not hear of the user's own server.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in env::vars_os() {
            let bytes = OsStr::as_bytes(&name);
            if bytes.starts_with(b"RABBITMQ_") || bytes.starts_with(b"ERL_") {
                command.env_remove(name);
            }
        }
        command
            // Where Erlang keeps the cookie that lets nodes talk to each other.
            .env("HOME", self.directory())
            // What Erlang would else write where the tests happen to run.
            .env("ERL_CRASH_DUMP", self.directory().join("crash.dump"))
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", self.mapper_port.to_string())
            .env("RABBITMQ_NODENAME", "tower-inbox@localhost")
            // Would be /etc/rabbitmq/rabbitmq-env.conf, the user's own.
            .env("RABBITMQ_CONF_ENV_FILE", self.directory().join("environment.conf"));
        command
    }

    fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for RabbitServer {
    fn drop(&mut self) {
        let _ = self.stop_immediate();
        let _ = self.mapper.take().map_or(Ok(()), Daemon::kill);
    }
}

// Of what nodes talk to each other through; the rest has settings of its own.
const LOOPBACK: &str = "-kernel inet_dist_use_interface {127,0,0,1}";
