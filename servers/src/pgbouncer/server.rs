use std::{
    collections::HashMap,
    fmt::Write as _,
    fs, io,
    net::{Ipv4Addr, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::PgBouncerBuilder;
use crate::{
    PostgresServer, Watchdog,
    account::Account,
    directory::create_directory,
    log::Log,
    port::{free_port, retry_taken_ports},
    postgres::{Psql, find_programs, percent_encode},
    program::find_program,
};

/// A private PgBouncer before a server.
///
/// It pools by transaction, listens on a loopback port, trusts everybody and knows one user,
/// `postgres`, who is its administrator as well. Every database of the server can be reached. Dropping
/// the value ends it; so does the death of the process.
#[derive(Debug)]
pub struct PgBouncer {
    program: PathBuf,
    psql: Psql,
    account: Account,
    settings: Vec<(String, String)>,
    upstream: u16,
    port: u16,
    process: Option<Child>,
    log: Log,
    // Fields are dropped in order: the directory first, then the watchdog that would remove it.
    directory: TempDir,
    _watchdog: Watchdog,
}

impl PgBouncer {
    /// Starts one with the default settings.
    ///
    /// # Errors
    ///
    /// See [`PgBouncerBuilder::start`].
    pub fn start(server: &PostgresServer) -> io::Result<Self> {
        Self::builder(server.port()).start()
    }

    /// Describes one with other settings, before whatever listens on a loopback port.
    pub fn builder(upstream: u16) -> PgBouncerBuilder {
        PgBouncerBuilder::new(upstream)
    }

    pub(super) fn create(upstream: u16, settings: Vec<(String, String)>) -> io::Result<Self> {
        let program = find_program("pgbouncer", "PGBOUNCER_BIN", &["/usr/sbin"])?;
        let psql = Psql::new(&find_programs()?);
        let directory = create_directory("pgbouncer")?;
        let account = Account::for_owner_of(directory.path())?;
        account.own(directory.path())?;
        let watchdog = Watchdog::start_as(account.command("sh"), CLEAN_UP, [directory.path()])?;
        let mut bouncer = Self {
            program,
            psql,
            account,
            settings,
            upstream,
            port: 0,
            process: None,
            log: Log::new(directory.path().join("log")),
            directory,
            _watchdog: watchdog,
        };
        bouncer.start_on_free_port()?;
        Ok(bouncer)
    }

    /// The URL of a database of the server, through PgBouncer.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{}", self.port, percent_encode(database))
    }

    /// The loopback port, which stays the same over [`start_again`](Self::start_again).
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Asks the administration console, for example `pools`, `servers` or `clients`; returns the rows
    /// by the names of their columns.
    ///
    /// # Errors
    ///
    /// When PgBouncer does not run or does not know what it is asked for.
    pub fn show(&self, what: &str) -> io::Result<Vec<HashMap<String, String>>> {
        self.psql.rows(&self.socket_url(), &format!("show {what}"))
    }

    /// Ends it with `kill -9`, as the kernel does when memory runs out: its clients and its server
    /// lose their connections. Does nothing when it has ended already.
    ///
    /// # Errors
    ///
    /// When the process can neither be signalled nor waited for.
    pub fn kill(&mut self) -> io::Result<()> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        process.kill()?;
        process.wait()?;
        // Somebody else may get the number.
        match fs::remove_file(self.pid_file()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Starts it again on its old port and waits until it answers. Does nothing when it runs.
    ///
    /// # Errors
    ///
    /// When it does not come up, with the last lines of its log; of kind `AddrInUse` when somebody
    /// else has taken the port.
    pub fn start_again(&mut self) -> io::Result<()> {
        if let Some(process) = &mut self.process
            && process.try_wait()?.is_none()
        {
            return Ok(());
        }
        let log_start = self.log.len();
        fs::write(self.config_file(), self.config())?;
        fs::write(self.user_file(), "\"postgres\" \"\"\n")?;
        // The number of the process is written down before there is anything to clean up.
        let process = self
            .account
            .command("sh")
            .args(["-c", "echo $$ > \"$1\" && exec \"$2\" \"$3\"", "sh"])
            .args([self.pid_file(), self.program.clone(), self.config_file()])
            .current_dir(self.directory())
            // In a process group of its own: Ctrl-C is meant for us, and PgBouncer follows.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(self.log.open()?)
            .stderr(self.log.open()?)
            .spawn()?;
        self.process = Some(process);
        self.wait_until_ready(log_start)
    }

    fn start_on_free_port(&mut self) -> io::Result<()> {
        retry_taken_ports(|| {
            self.port = free_port()?;
            self.start_again()
        })
    }

    fn wait_until_ready(&mut self, log_start: usize) -> io::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let log = self.log.since(log_start);
            let ended = self.process.as_mut().map(Child::try_wait).transpose()?.flatten();
            let failure = if log.contains("Address already in use") {
                // It runs on with the socket alone.
                Some((io::ErrorKind::AddrInUse, "has no port".to_owned()))
            } else if let Some(status) = ended {
                Some((io::ErrorKind::Other, format!("failed ({status})")))
            } else if Instant::now() > deadline {
                Some((io::ErrorKind::TimedOut, format!("is not ready after {START_TIMEOUT:?}")))
            } else {
                None
            };
            if let Some((kind, what)) = failure {
                self.kill()?;
                let message = format!("pgbouncer {what}; the end of its log:\n{log}");
                return Err(io::Error::new(kind, message));
            }
            // Through the socket, which is in our own directory: on the port another may answer.
            if self.show("version").is_ok()
                && TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
            {
                return Ok(());
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn config(&self) -> String {
        let mut config = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {}\nunix_socket_dir = {}\nauth_type = trust\nauth_file = {}\n\
             admin_users = postgres\n",
            self.upstream,
            self.port,
            self.directory().display(),
            self.user_file().display(),
        );
        for (name, value) in &self.settings {
            writeln!(config, "{name} = {value}").expect("a string takes everything");
        }
        config
    }

    fn socket_url(&self) -> String {
        format!(
            "postgres://postgres@localhost:{}/pgbouncer?host={}",
            self.port,
            percent_encode(&self.directory().to_string_lossy()),
        )
    }

    fn config_file(&self) -> PathBuf {
        self.directory().join("pgbouncer.ini")
    }

    fn user_file(&self) -> PathBuf {
        self.directory().join("users.txt")
    }

    fn pid_file(&self) -> PathBuf {
        self.directory().join("pid")
    }

    fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// What the watchdog does to the directory `$1`.
const CLEAN_UP: &str = r#"
# What is being started needs a moment to write its number down.
sleep 0.1
pid=$(cat "$1/pid") && kill -KILL "$pid"
rm -rf "$1"
"#;

const START_TIMEOUT: Duration = Duration::from_secs(30);

const POLL_INTERVAL: Duration = Duration::from_millis(20);
