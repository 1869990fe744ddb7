use std::io;

use super::PgBouncer;

/// Describes a [`PgBouncer`] before it is started.
#[derive(Clone, Debug)]
#[must_use = "a builder starts nothing before `start`"]
pub struct PgBouncerBuilder {
    upstream: u16,
    settings: Vec<(String, String)>,
}

impl PgBouncerBuilder {
    pub(super) fn new(upstream: u16) -> Self {
        let settings = DEFAULTS.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Self { upstream, settings }
    }

    /// How many connections to the server the clients of one database share. Default: 4, so that a
    /// session goes from hand to hand.
    pub fn pool_size(self, connections: u32) -> Self {
        self.setting("default_pool_size", connections.to_string())
    }

    /// Sets a configuration parameter, over anything said by this crate.
    ///
    /// `pool_mode` is `transaction` by default, and `ignore_startup_parameters` lets in what sqlx
    /// sends.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let name = name.into();
        self.settings.retain(|(other, _)| *other != name);
        self.settings.push((name, value.into()));
        self
    }

    /// Starts PgBouncer and waits until it answers. It connects to the server at the first query.
    ///
    /// # Errors
    ///
    /// When the program is not found, or does not come up; the error then ends with the last lines
    /// of its log.
    pub fn start(self) -> io::Result<PgBouncer> {
        PgBouncer::create(self.upstream, self.settings)
    }
}

const DEFAULTS: [(&str, &str); 5] = [
    ("pool_mode", "transaction"),
    ("default_pool_size", "4"),
    ("max_client_conn", "1000"),
    ("ignore_startup_parameters", "extra_float_digits"),
    // After a server went away: the default of 15 s is made for networks, not for tests.
    ("server_login_retry", "0.1"),
];
