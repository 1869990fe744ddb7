use std::{
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    PostgresBuilder, StandbyBuilder,
    programs::find_programs,
    psql::{Psql, without_pg_variables},
    url::percent_encode,
};
use crate::{
    Watchdog,
    account::Account,
    directory::create_directory,
    log::Log,
    port::{free_port, retry_taken_ports},
};

/// A private PostgreSQL server with a data directory of its own.
///
/// It listens on a loopback port and on a unix socket, trusts everybody, and has one superuser,
/// `postgres`. Dropping the value stops the server and removes the directory; so does the death
/// of the process.
#[derive(Debug)]
pub struct PostgresServer {
    programs: PathBuf,
    psql: Psql,
    account: Account,
    settings: Vec<(String, String)>,
    port: u16,
    postmaster: Option<Child>,
    log: Log,
    // Fields are dropped in order: the directory first, then the watchdog that would remove it.
    directory: TempDir,
    _watchdog: Watchdog,
}

impl PostgresServer {
    /// Starts a server with the default settings, under which commits do not survive a crash.
    ///
    /// # Errors
    ///
    /// See [`PostgresBuilder::start`].
    pub fn start() -> io::Result<Self> {
        Self::builder().start()
    }

    /// Describes a server with other settings.
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder::default()
    }

    /// Describes a streaming replica, which becomes a server of its own by
    /// [`promote`](Self::promote).
    pub fn standby(&self) -> StandbyBuilder<'_> {
        StandbyBuilder::new(self)
    }

    pub(super) fn create(durable: bool, settings: Vec<(String, String)>) -> io::Result<Self> {
        let mut server = Self::prepare(settings)?;
        server.initialize(durable)?;
        server.start_on_free_port()?;
        Ok(server)
    }

    pub(super) fn create_standby(primary: &Self, port: u16, synchronous: bool) -> io::Result<Self> {
        let mut standby = Self::prepare(primary.settings.clone())?;
        let name = standby.directory().file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        let stream = format!("host=127.0.0.1 port={port} user=postgres application_name={name}");
        standby.settings.push(("primary_conninfo".to_owned(), stream));
        // After a lost connection: the default of 5 s is made for networks, not for tests.
        standby.settings.push(("wal_retrieve_retry_interval".to_owned(), "100ms".to_owned()));
        standby.copy(primary)?;
        standby.start_on_free_port()?;
        let state = format!(
            "select state, sync_state from pg_stat_replication where application_name = '{name}'"
        );
        primary.wait_for(&state, |answer| answer.starts_with("streaming|"))?;
        if synchronous {
            let name = format!("alter system set synchronous_standby_names = '\"{name}\"'");
            primary.psql(&primary.socket_url("postgres"), &name)?;
            primary.psql(&primary.socket_url("postgres"), "select pg_reload_conf()")?;
            primary.wait_for(&state, |answer| answer == "streaming|sync")?;
        }
        Ok(standby)
    }

    /// Takes everything that a server needs, and starts nothing.
    fn prepare(settings: Vec<(String, String)>) -> io::Result<Self> {
        let programs = find_programs()?;
        let directory = create_directory("pg")?;
        let account = Account::for_owner_of(directory.path())?;
        account.own(directory.path())?;
        let watchdog = Watchdog::start_as(account.command("sh"), CLEAN_UP, [directory.path()])?;
        Ok(Self {
            psql: Psql::new(&programs),
            programs,
            account,
            settings,
            port: 0,
            postmaster: None,
            log: Log::new(directory.path().join("log")),
            directory,
            _watchdog: watchdog,
        })
    }

    /// The URL of a database through TCP.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{}", self.port, percent_encode(database))
    }

    /// The URL of a database through the unix socket, as sqlx and libpq read it.
    pub fn socket_url(&self, database: &str) -> String {
        format!(
            "postgres://postgres@localhost:{}/{}?host={}",
            self.port,
            percent_encode(database),
            percent_encode(&self.directory().to_string_lossy()),
        )
    }

    /// The loopback port, which stays the same over [`start_again`](Self::start_again).
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Creates an empty database.
    ///
    /// # Errors
    ///
    /// When the server refuses, for example because the database exists.
    pub fn create_database(&self, name: &str) -> io::Result<()> {
        let sql = format!("create database \"{}\"", name.replace('"', "\"\""));
        self.psql(&self.socket_url("postgres"), &sql).map(drop)
    }

    /// Runs SQL through `psql`; returns one line per row, with `|` between the columns.
    ///
    /// # Errors
    ///
    /// When `psql` fails; the error holds what it printed.
    pub fn psql(&self, url: &str, sql: &str) -> io::Result<String> {
        self.psql.lines(url, sql)
    }

    /// Makes a replica a server of its own, which can be written. What it has not received by now it
    /// will never have.
    ///
    /// # Errors
    ///
    /// When this is no replica, or when it is not ready after a minute.
    pub fn promote(&self) -> io::Result<()> {
        match &*self.psql(&self.socket_url("postgres"), "select pg_promote(true, 60)")? {
            "t" => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::TimedOut, "the replica is not promoted")),
        }
    }

    /// Waits until this replica shows everything that its primary has committed so far.
    ///
    /// # Errors
    ///
    /// When it does not get there in a minute.
    pub fn catch_up_with(&self, primary: &Self) -> io::Result<()> {
        let ask = |sql| primary.psql(&primary.socket_url("postgres"), sql);
        // A commit that is waited for flushes those before it that were not.
        ask("set synchronous_commit = local; select pg_logical_emit_message(true, '', '')")?;
        let position = ask("select pg_current_wal_flush_lsn()")?;
        let sql = format!("select pg_last_wal_replay_lsn() >= '{position}'");
        self.wait_for(&sql, |answer| answer == "t")
    }

    /// Stops the server as a crash would: no checkpoint, no goodbye to clients.
    ///
    /// Like `pg_ctl stop -m immediate`. Does nothing when the server is already stopped. Commits
    /// survive if the server is [durable](PostgresBuilder::durable).
    ///
    /// # Errors
    ///
    /// When the process can neither be signalled nor waited for.
    pub fn stop_immediate(&mut self) -> io::Result<()> {
        let Some(mut postmaster) = self.postmaster.take() else {
            return Ok(());
        };
        // Until it is waited for, the process keeps its number, even if it died long ago.
        let signalled = Command::new("sh")
            .args(["-c", "kill -QUIT \"$1\"", "sh", &postmaster.id().to_string()])
            .status();
        if !signalled.is_ok_and(|status| status.success()) {
            postmaster.kill()?;
        }
        postmaster.wait().map(drop)
    }

    /// Starts a stopped server on its old data and port, and waits until it answers.
    ///
    /// Does nothing when the server is running.
    ///
    /// # Errors
    ///
    /// When the server does not come up, with the last lines of its log; of kind `AddrInUse` when
    /// somebody else has taken the port.
    pub fn start_again(&mut self) -> io::Result<()> {
        if let Some(postmaster) = &mut self.postmaster
            && postmaster.try_wait()?.is_none()
        {
            return Ok(());
        }
        let log_start = self.log.len();
        let mut postgres = self.command("postgres")?;
        postgres
            .args(["-p", &self.port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1"])
            .args(["-c", &format!("unix_socket_directories=\"{}\"", self.directory().display())]);
        for (name, value) in &self.settings {
            postgres.args(["-c", &format!("{name}={value}")]);
        }
        self.postmaster = Some(postgres.spawn()?);
        self.wait_until_ready(log_start)
    }

    fn initialize(&self, durable: bool) -> io::Result<()> {
        let mut initdb = self.command("initdb")?;
        initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]);
        if !durable {
            initdb.arg("--no-sync");
        }
        let status = initdb.status()?;
        if status.success() { Ok(()) } else { Err(self.failure("initdb", status, 0)) }
    }

    /// Fills the data directory of a replica.
    fn copy(&self, primary: &Self) -> io::Result<()> {
        let from =
            format!("host={} port={} user=postgres", primary.directory().display(), primary.port);
        let status = self
            .command("pg_basebackup")?
            .args(["--dbname", &from, "--write-recovery-conf", "--checkpoint=fast", "--no-sync"])
            .status()?;
        if status.success() { Ok(()) } else { Err(self.failure("pg_basebackup", status, 0)) }
    }

    /// Asks until the answer is right.
    fn wait_for(&self, sql: &str, is_right: impl Fn(&str) -> bool) -> io::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let answer = self.psql(&self.socket_url("postgres"), sql)?;
            if is_right(&answer) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("after {START_TIMEOUT:?} the answer to {sql:?} is still {answer:?}"),
                ));
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn start_on_free_port(&mut self) -> io::Result<()> {
        retry_taken_ports(|| {
            self.port = free_port()?;
            self.start_again()
        })
    }

    fn wait_until_ready(&mut self, log_start: usize) -> io::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        // Through the socket, which is in our own directory: on the port another server may answer.
        let socket = self.directory().join(format!(".s.PGSQL.{}", self.port));
        let url = self.socket_url("postgres");
        loop {
            let ended = self.postmaster.as_mut().map(Child::try_wait).transpose()?.flatten();
            if let Some(status) = ended {
                self.postmaster = None;
                return Err(self.failure("postgres", status, log_start));
            }
            if socket.exists() && self.psql(&url, "select 1").is_ok() {
                return Ok(());
            }
            if Instant::now() > deadline {
                self.stop_immediate()?;
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!(
                        "postgres is not ready after {START_TIMEOUT:?}; {}",
                        self.log_since(log_start)
                    ),
                ));
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// One of the server's programs, on its data, under its account and printing into its log.
    fn command(&self, program: &str) -> io::Result<Command> {
        let mut command = without_pg_variables(self.account.command(self.programs.join(program)));
        // In a process group of its own: Ctrl-C is meant for us, and the server follows.
        command
            .arg("-D")
            .arg(self.directory().join("data"))
            .current_dir(self.directory())
            .env("LC_ALL", "C")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(self.log.open()?)
            .stderr(self.log.open()?);
        Ok(command)
    }

    fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn failure(&self, program: &str, status: ExitStatus, log_start: usize) -> io::Error {
        let log = self.log_since(log_start);
        let kind = if log.contains("Address already in use") {
            io::ErrorKind::AddrInUse
        } else {
            io::ErrorKind::Other
        };
        io::Error::new(kind, format!("{program} failed ({status}); {log}"))
    }

    fn log_since(&self, log_start: usize) -> String {
        format!("the end of its log:\n{}", self.log.since(log_start))
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        let _ = self.stop_immediate();
    }
}

/// What the watchdog does to the directory `$1`. The server deletes `postmaster.pid` at its end.
const CLEAN_UP: &str = r#"
pid_file=$1/data/postmaster.pid
if pid=$(head -n 1 "$pid_file"); then
    kill -QUIT "$pid"
    tenths=100
    while [ -e "$pid_file" ] && [ "$tenths" -gt 0 ]; do
        sleep 0.1
        tenths=$((tenths - 1))
    done
    [ -e "$pid_file" ] && kill -KILL "$pid"
fi
# An initdb that is still running may create a file in between.
rm -rf "$1" || { sleep 1; rm -rf "$1"; }
"#;

// As long as `pg_ctl start` waits, crash recovery included.
const START_TIMEOUT: Duration = Duration::from_secs(60);

const POLL_INTERVAL: Duration = Duration::from_millis(20);
