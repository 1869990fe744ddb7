//! Consumers as processes that are killed while they handle messages, and what their database says
//! in the end.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tower_inbox_servers::PostgresServer;

/// An example's program, its database, and the variables that name its servers.
pub(crate) struct Example {
    program: &'static str,
    orders: u32,
    postgres: PostgresServer,
    variables: Vec<(&'static str, String)>,
}

impl Example {
    /// With so many orders, every third of which is published twice.
    pub(crate) fn new(program: &'static str, orders: u32) -> Self {
        let postgres = PostgresServer::start().unwrap();
        let variables = vec![
            ("DATABASE_URL", postgres.url("postgres")),
            ("HANDLER_MILLISECONDS", HANDLER.as_millis().to_string()),
            ("HANDLER_FAILS_EVERY", "9".to_owned()),
        ];
        Self { program, orders, postgres, variables }
    }

    pub(crate) fn set(mut self, variable: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((variable, value.into()));
        self
    }

    pub(crate) fn publish(&self) {
        let status = self.command(&["publish", &self.orders.to_string()]).status().unwrap();
        assert!(status.success());
    }

    pub(crate) fn consumer(&self) -> Consumer {
        Consumer::start(self.command(&["consume"]))
    }

    pub(crate) fn wait_until_all_are_booked(&self) {
        let sql = "select count(distinct order_id) from booking";
        wait_until("all orders are booked", || self.psql(sql).unwrap() == self.orders.to_string());
    }

    /// Every order was booked once, although handlers failed, and what was published twice was
    /// recognised.
    pub(crate) fn assert_each_booked_once(&self, consumers: &[Consumer]) {
        let not_once = "select order_id, count(*) from booking group by 1 having count(*) <> 1";
        assert_eq!(self.psql(not_once).unwrap(), "", "orders booked more than once");
        let all = self.psql("select count(*), sum(cents) from booking").unwrap();
        let cents: u32 = (1..=self.orders).map(|order| 100 + order).sum();
        assert_eq!(all, format!("{}|{cents}", self.orders), "orders booked, and their cents");

        let duplicates: usize = consumers.iter().map(|it| it.count(": duplicate")).sum();
        assert!(
            duplicates >= (self.orders / 3) as usize,
            "only {duplicates} duplicates recognised"
        );
    }

    pub(crate) fn psql(&self, sql: &str) -> std::io::Result<String> {
        self.postgres.psql(&self.postgres.url("postgres"), sql)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.program);
        command.args(args).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A consumer, process after process.
pub(crate) struct Consumer {
    command: Command,
    child: Child,
    printed: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Consumer {
    fn start(mut command: Command) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut consumer = Self { command, child, printed: Arc::default(), reader: None };
        consumer.read();
        consumer
    }

    /// Kills the process with -9 while it is inside a handler, and starts the next one.
    pub(crate) fn kill_inside_a_handler(&mut self) {
        let start = self.printed.lock().unwrap().len();
        wait_until("a handler is at work", || !self.orders_since(start, ": handling").is_empty());
        thread::sleep(HANDLER / 4);
        self.kill();
        // Everything that it printed before its death has been read.
        let halfway =
            &self.orders_since(start, ": handling") - &self.orders_since(start, ": handled");
        assert!(!halfway.is_empty(), "no handler was at work");

        self.child = self.command.spawn().unwrap();
        self.read();
    }

    fn count(&self, event: &str) -> usize {
        self.printed.lock().unwrap().iter().filter(|line| line.ends_with(event)).count()
    }

    fn orders_since(&self, start: usize, event: &str) -> BTreeSet<String> {
        let printed = self.printed.lock().unwrap();
        let orders = printed[start..].iter().filter_map(|line| line.strip_suffix(event));
        orders.map(str::to_owned).collect()
    }

    fn read(&mut self) {
        let lines = BufReader::new(self.child.stdout.take().unwrap()).lines();
        let printed = Arc::clone(&self.printed);
        self.reader = Some(thread::spawn(move || {
            lines.for_each(|line| printed.lock().unwrap().push(line.unwrap()));
        }));
        // Through this process, so that it is shown when the test fails, and only then.
        let complaints = BufReader::new(self.child.stderr.take().unwrap()).lines();
        thread::spawn(|| complaints.for_each(|line| eprintln!("{}", line.unwrap())));
    }

    fn kill(&mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "the consumer ended by itself");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn wait_until(fact: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < deadline, "it took too long until {fact}");
        thread::sleep(Duration::from_millis(10));
    }
}

// Long enough to be killed in the middle.
const HANDLER: Duration = Duration::from_millis(200);
