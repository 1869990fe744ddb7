//! A folder with the real command line in it.
#![allow(dead_code, unreachable_pub)] // each test file needs a part

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::Duration,
};

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
use tempfile::TempDir;

/// What `tower-inbox` runs in: a folder of its own, and no settings of the person who tests.
pub struct Scene {
    folder: TempDir,
}

/// A run that ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Scene {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn command(&self, args: &[&str]) -> Command {
        self.program(TOWER_INBOX, args)
    }

    /// Another program, in the same folder and as clean an environment.
    pub fn program(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(&self.folder).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("TOWER_INBOX_") || name.starts_with("PG") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Runs to the end, without input.
    pub fn run(&self, args: &[&str]) -> Ran {
        self.command(args).output().unwrap().into()
    }

    /// Runs to the end, with a standard input.
    pub fn run_with_input(&self, args: &[&str], input: impl AsRef<[u8]>) -> Ran {
        let mut child = self.spawn(args, Stdio::piped());
        let mut stdin = child.stdin.take().unwrap();
        let input = input.as_ref().to_vec();
        // Whoever does not read it all is not to blame for it.
        let feeding = std::thread::spawn(move || stdin.write_all(&input).ok());
        let ran = child.wait_with_output().unwrap().into();
        feeding.join().unwrap();
        ran
    }

    pub fn spawn(&self, args: &[&str], stdin: Stdio) -> Child {
        self.command(args)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs SQL on an SQLite file in the folder, and gives the first column as text.
    pub fn sql(&self, file: &str, sql: &str) -> Vec<String> {
        let url = format!("sqlite://{}?mode=rwc", self.path(file).display());
        let sql = AssertSqlSafe(sql.to_owned());
        block_on(async {
            let mut connection = SqliteConnection::connect(&url).await.unwrap();
            let rows = sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            rows
        })
    }

    /// Runs a script on an SQLite file in the folder.
    pub fn script(&self, file: &str, sql: &str) {
        let url = format!("sqlite://{}?mode=rwc", self.path(file).display());
        let sql = AssertSqlSafe(sql.to_owned());
        block_on(async {
            let mut connection = SqliteConnection::connect(&url).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        });
    }

    /// The messages of a table in the default database, in the order of their handling.
    pub fn messages(&self, table: &str) -> Vec<String> {
        self.sql("tower-inbox.db", &format!("select message from {table} order by id"))
    }

    /// How many messages are in a table of the default database by now; for a run that goes on.
    pub fn count(&self, table: &str) -> u64 {
        let url = format!("sqlite://{}?mode=rw", self.path("tower-inbox.db").display());
        let sql = AssertSqlSafe(format!("select count(*) from {table}"));
        block_on(async {
            let Ok(mut connection) = SqliteConnection::connect(&url).await else { return 0 };
            let count = sqlx::query_scalar(sql).fetch_one(&mut connection).await;
            connection.close().await.ok();
            count.unwrap_or(0)
        })
    }

    pub fn letters(&self, name: &str) -> Vec<Value> {
        self.read(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Ran {
    /// The report of a run with `--format json`, which must add up.
    #[track_caller]
    pub fn report(&self) -> Report {
        Report::parse(&self.stdout, self)
    }

    /// What a verb printed as JSON, after it went well.
    #[track_caller]
    pub fn json(self) -> Value {
        serde_json::from_str(&self.succeeded().stdout).unwrap()
    }

    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// It ended with this code and said all of this on standard error, and nothing of a panic.
    #[track_caller]
    pub fn failed(&self, code: i32, says: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        for part in says {
            assert!(self.stderr.contains(part), "{part:?} is not in:\n{}", self.stderr);
        }
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A report as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub delivered: u64,
    pub handled: u64,
    pub duplicates: u64,
    pub in_flight: u64,
    pub failed: u64,
    pub dead_lettered: u64,
    pub dead_letters: u64,
    /// Among the delivered.
    pub redelivered: u64,
}

impl Report {
    #[track_caller]
    pub fn parse(text: &str, ran: &Ran) -> Self {
        let line = text.lines().find(|line| line.starts_with('{'));
        let line = line.unwrap_or_else(|| panic!("no report: {ran:?}"));
        let json: BTreeMap<String, Value> = serde_json::from_str(line).unwrap();
        let field = |name: &str| json[name].as_u64().unwrap();
        assert!(json["seconds"].as_f64().unwrap() >= 0.0);
        assert!(json["per_second"].as_f64().unwrap() >= 0.0);
        assert!(json["consumer"].is_string());
        let report = Self {
            delivered: field("delivered"),
            handled: field("handled"),
            duplicates: field("duplicates"),
            in_flight: field("in_flight"),
            failed: field("failed"),
            dead_lettered: field("dead_lettered"),
            dead_letters: field("dead_letters"),
            redelivered: field("redelivered"),
        };
        let Self { delivered, handled, duplicates, in_flight, failed, dead_lettered, .. } = report;
        let dead = dead_lettered + report.dead_letters;
        assert_eq!(delivered, handled + duplicates + in_flight + failed + dead);
        report
    }
}

/// A report of `events check` as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    pub delivered: u64,
    pub new: u64,
    pub duplicates: u64,
    pub dead_letters: u64,
    pub unchecked: u64,
    pub unconfirmed: u64,
    pub lost: u64,
}

impl Checked {
    /// Finds the report on standard error. It must add up.
    #[track_caller]
    pub fn of(ran: &Ran) -> Self {
        let line = ran.stderr.lines().find(|line| line.starts_with('{'));
        let line = line.unwrap_or_else(|| panic!("no report: {ran:?}"));
        let json: BTreeMap<String, Value> = serde_json::from_str(line).unwrap();
        let field = |name: &str| json[name].as_u64().unwrap();
        assert!(json["seconds"].as_f64().unwrap() >= 0.0);
        assert!(json["per_second"].as_f64().unwrap() >= 0.0);
        let checked = Self {
            delivered: field("delivered"),
            new: field("new"),
            duplicates: field("duplicates"),
            dead_letters: field("dead_letters"),
            unchecked: field("unchecked"),
            unconfirmed: field("unconfirmed"),
            lost: field("lost"),
        };
        let Self { delivered, new, duplicates, dead_letters, .. } = checked;
        assert_eq!(delivered, new + duplicates + dead_letters, "{line}");
        checked
    }
}

/// A stream of orders, some of them delivered again later, always the same for the same numbers.
pub fn orders(distinct: u64, again: u64) -> String {
    let mut chance = Chance::new(distinct ^ (again << 32));
    let mut ids: Vec<u64> = (0..distinct).collect();
    for _ in 0..again {
        let id = chance.below(distinct);
        let place = chance.below(ids.len() as u64 + 1);
        ids.insert(usize::try_from(place).unwrap(), id);
    }
    ids.iter().fold(String::new(), |mut stream, id| {
        writeln!(stream, "{}", order(*id)).unwrap();
        stream
    })
}

pub fn order(id: u64) -> String {
    format!(r#"{{"order_id":{id},"email":"user{id}@example.com","cents":{}}}"#, id * 7 % 10_000)
}

/// Numbers that look random and are the same each time (SplitMix64).
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % end
    }
}

/// Sends a signal to a run, and waits for its end.
pub fn interrupt(child: Child, signal: &str) -> Ran {
    send(&child, signal);
    child.wait_with_output().unwrap().into()
}

pub fn send(child: &Child, signal: &str) {
    let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

/// Waits for something that another process does.
#[track_caller]
pub fn wait_for(condition: impl Fn() -> bool) {
    for _ in 0..600 {
        if condition() {
            return;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("waited for half a minute");
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Distinct values, for comparing with all of them.
pub fn distinct<T: Ord + Clone>(values: &[T]) -> Vec<T> {
    let mut values = values.to_vec();
    values.sort();
    values.dedup();
    values
}

pub fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// How many times each line came.
pub fn times(lines: &[String]) -> BTreeMap<&str, usize> {
    let mut times = BTreeMap::new();
    for line in lines {
        *times.entry(line.as_str()).or_default() += 1;
    }
    times
}

/// Whether some lines of a stream are in its order.
pub fn in_order(some: &str, stream: &str) -> bool {
    let mut stream = stream.lines();
    some.lines().all(|line| stream.any(|other| other == line))
}

pub fn folder_of_repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

pub const TOWER_INBOX: &str = env!("CARGO_BIN_EXE_tower-inbox");
