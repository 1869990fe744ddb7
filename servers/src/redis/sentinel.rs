use std::io;

use super::{
    RedisServer,
    authority::Identity,
    cli::Cli,
    config::Config,
    operator,
    process::{Process, Role},
    wait::wait_for,
};
use crate::port::{free_port, retry_taken_ports};

/// A private sentinel, which promotes a replica when the master is gone.
///
/// It decides alone, and does so 750 ms after the master stopped to answer; a second or two later
/// there is another. It finds the replicas through the master, lets everybody in, and does not
/// speak TLS itself.
///
/// # What is not promised
///
/// On a machine that is very busy, 750 ms can pass without an answer from a master that is well;
/// and a master that comes back in less, with nothing in memory, stays the master.
#[derive(Debug)]
pub struct RedisSentinel {
    master_name: String,
    port: u16,
    process: Process,
}

impl RedisSentinel {
    /// Starts a sentinel, and waits until it knows the replicas that the master has by now, so that
    /// it can promote one. Others are found later, in a moment.
    ///
    /// # Errors
    ///
    /// As [`RedisBuilder::start`](super::RedisBuilder::start), and when it does not reach the
    /// master or one of its replicas in a minute.
    pub fn start(master_name: &str, master: &RedisServer) -> io::Result<Self> {
        let process = Process::prepare(Role::Sentinel)?;
        let identity =
            master.ca_file().map(|_| Identity::create_in(process.directory())).transpose()?;
        let mut sentinel = Self { master_name: master_name.to_owned(), port: 0, process };
        retry_taken_ports(|| {
            sentinel.port = free_port()?;
            sentinel.process.configure(&sentinel.config(master.port(), identity.as_ref()))?;
            sentinel.process.start()
        })?;
        for (name, value) in PERIODS {
            sentinel.cli(&["sentinel", "debug", name, value])?;
        }
        sentinel.wait_for_replicas(master)?;
        Ok(sentinel)
    }

    /// The URL for clients that ask where the master is.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The loopback port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The name under which clients ask for the master.
    pub fn master_name(&self) -> &str {
        &self.master_name
    }

    /// The loopback port of the server that is the master now.
    ///
    /// # Errors
    ///
    /// See [`cli`](Self::cli).
    pub fn master_port(&self) -> io::Result<u16> {
        let address = self.cli(&["sentinel", "get-master-addr-by-name", &self.master_name])?;
        address
            .lines()
            .nth(1)
            .and_then(|port| port.parse().ok())
            .ok_or_else(|| io::Error::other(format!("no address of a master: {address:?}")))
    }

    /// Waits until the master is another one than that on the port; returns the port of the new
    /// one, which takes writes by then.
    ///
    /// # Errors
    ///
    /// When there is no other master in a minute.
    pub fn wait_for_failover_from(&self, port: u16) -> io::Result<u16> {
        wait_for("a failover", || Ok(Some(self.master_port()?).filter(|&other| other != port)))
    }

    /// Runs one command through `redis-cli`; returns what it printed.
    ///
    /// # Errors
    ///
    /// When the sentinel answers with an error, which is in the message, or does not answer in a
    /// minute.
    pub fn cli(&self, args: &[&str]) -> io::Result<String> {
        let program = &self.process.client();
        Cli { program, port: self.port, ca: None, as_operator: false }.run(args)
    }

    fn config(&self, master: u16, identity: Option<&Identity>) -> Config {
        let name = &*self.master_name;
        let mut config = Config::default();
        config.set("bind", &["127.0.0.1"]);
        config.set("port", &[&self.port.to_string()]);
        if let Some(identity) = identity {
            identity.configure(&mut config);
        }
        config.set("sentinel", &["monitor", name, "127.0.0.1", &master.to_string(), "1"]);
        config.set("sentinel", &["auth-user", name, operator::NAME]);
        config.set("sentinel", &["auth-pass", name, operator::password()]);
        // The default of 30 s is made for networks, not for tests.
        config.set("sentinel", &["down-after-milliseconds", name, "750"]);
        // Twice this is the time until a failover that did not succeed is tried again.
        config.set("sentinel", &["failover-timeout", name, "2000"]);
        config
    }

    /// Waits until the master and each replica that it has by now have told about themselves.
    fn wait_for_replicas(&self, master: &RedisServer) -> io::Result<()> {
        let replication = master.replication()?;
        let replicas = replication.get("connected_slaves").and_then(|count| count.parse().ok());
        wait_for("a sentinel to know the servers", || {
            let ask = |what| self.cli(&["sentinel", what, &self.master_name]);
            let master = ask("master")?;
            let known = ask("replicas")?;
            // Other flags stand beside these as long as something is wrong.
            let is_known = count(&master, ["flags", "master"]) == 1
                && count(&known, ["flags", "slave"]) >= replicas.unwrap_or(0)
                && count(&known, ["master-link-status", "ok"]) >= replicas.unwrap_or(0);
            Ok(is_known.then_some(()))
        })
    }
}

/// How often a name with a value is printed, which are a line each.
fn count(printed: &str, pair: [&str; 2]) -> usize {
    let lines: Vec<&str> = printed.lines().collect();
    lines.windows(2).filter(|window| *window == pair).count()
}

const PERIODS: [(&str, &str); 4] = [
    // How often it asks whether a server is there. It asks a new master for the first time after
    // this period, and takes it for dead when it has no answer after 750 ms. A replica is promoted
    // only when the news of it is not older than five of these, and it has news once a second.
    ("ping-period", "250"),
    // How often it asks for replicas: the default of 10 s is made for networks.
    ("info-period", "200"),
    // Four of these pass until a former master that came back is made a replica: 8 s by default.
    ("publish-period", "200"),
    // How long it does nothing after it was itself held up for two seconds, which happens on a
    // machine that is busy with other tests. The default is 30 s.
    ("tilt-period", "1000"),
];
