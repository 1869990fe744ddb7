use std::io;

use super::PostgresServer;

/// Describes a [`PostgresServer`] before it is started.
#[derive(Clone, Debug, Default)]
#[must_use = "a builder starts nothing before `start`"]
pub struct PostgresBuilder {
    durable: bool,
    settings: Vec<(String, String)>,
}

impl PostgresBuilder {
    /// Whether what was committed is still there after a crash. Default: `false`.
    ///
    /// `false` switches `fsync`, `synchronous_commit` and `full_page_writes` off, which is fast
    /// and loses recent commits in [`stop_immediate`]. `true` leaves the server's own defaults on
    /// and gives it `shared_buffers` of 1 GB and `max_wal_size` of 4 GB, so that a benchmark
    /// measures commits and not checkpoints.
    ///
    /// [`stop_immediate`]: PostgresServer::stop_immediate
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// Sets a configuration parameter, over anything said by this crate.
    ///
    /// `max_connections` is 300 by default, so that several test processes can share one server.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Creates the data directory, starts the server and waits until it answers.
    ///
    /// # Errors
    ///
    /// When the programs are not found, or when one of them fails; the error then ends with the
    /// last lines of the log.
    pub fn start(self) -> io::Result<PostgresServer> {
        let defaults: &[(&str, &str)] = if self.durable { &DURABLE } else { &FAST };
        let settings = [("max_connections", "300")]
            .iter()
            .chain(defaults)
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .chain(self.settings)
            .collect();
        PostgresServer::create(self.durable, settings)
    }
}

const DURABLE: [(&str, &str); 2] = [("shared_buffers", "1GB"), ("max_wal_size", "4GB")];

const FAST: [(&str, &str); 3] =
    [("fsync", "off"), ("synchronous_commit", "off"), ("full_page_writes", "off")];
