use std::io;

use super::{
    RedisServer,
    access::{Access, User},
};

/// Describes a [`RedisServer`] before it is started.
#[derive(Clone, Debug)]
#[must_use = "a builder starts nothing before `start`"]
pub struct RedisBuilder {
    pub(super) access: Access,
    pub(super) tls: bool,
    pub(super) maxmemory: u64,
    pub(super) policy: String,
    pub(super) append_only: bool,
    pub(super) debug_commands: bool,
    pub(super) master: Option<u16>,
    pub(super) cluster: bool,
    pub(super) settings: Vec<(String, String)>,
}

impl RedisBuilder {
    pub(super) fn new() -> Self {
        Self {
            access: Access::default(),
            tls: false,
            maxmemory: 0,
            policy: "noeviction".to_owned(),
            append_only: false,
            debug_commands: false,
            master: None,
            cluster: false,
            settings: Vec::new(),
        }
    }

    /// The password of those who do not say who they are, and may do everything. Default: none is
    /// asked for.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.access.password = Some(password.into());
        self
    }

    /// Adds a user with rules such as `~inbox:* +@all -@dangerous`. Default: there is none.
    ///
    /// The URL of the server is that of the first user. With users and without a
    /// [`password`](Self::password) nobody gets in who does not say who he is.
    pub fn user(
        mut self,
        name: impl Into<String>,
        password: impl Into<String>,
        rules: impl Into<String>,
    ) -> Self {
        let (name, password, rules) = (name.into(), password.into(), rules.into());
        self.access.users.push(User { name, password, rules });
        self
    }

    /// Whether the port speaks TLS, and nothing else. Default: `false`.
    ///
    /// The certificate is for `127.0.0.1` and `localhost`, from an authority that was made for this
    /// process: [`RedisServer::ca_file`]. Clients are not asked for one.
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// How many bytes of memory the data may take. Default: 0, which is no limit.
    pub fn maxmemory(mut self, bytes: u64) -> Self {
        self.maxmemory = bytes;
        self
    }

    /// What happens when [`maxmemory`](Self::maxmemory) is reached, for example `allkeys-lru`.
    /// Default: `noeviction`, which refuses what would need more.
    pub fn policy(mut self, policy: impl Into<String>) -> Self {
        self.policy = policy.into();
        self
    }

    /// Whether the server finds its data again when it is restarted. Default: `false`; nothing
    /// stays on the disk then.
    ///
    /// What was acknowledged survives the death of the process, not that of the machine:
    /// `appendfsync` is `no`. Under Redis's own default, `everysec`, a write may be acknowledged
    /// while it still waits in the process for the disk.
    pub fn append_only(mut self, append_only: bool) -> Self {
        self.append_only = append_only;
        self
    }

    /// Whether clients may use `DEBUG`. Default: `false`, as in Redis.
    pub fn debug_commands(mut self, debug_commands: bool) -> Self {
        self.debug_commands = debug_commands;
        self
    }

    /// Makes the server a replica of the one on a loopback port, or behind it if the port is that
    /// of a [`DelayProxy`](crate::DelayProxy). Default: it is nobody's.
    ///
    /// The master has to be of this process and [TLS](Self::tls) the same on both sides. To survive
    /// a failover, clients need the same passwords and users on both, too.
    pub fn replica_of(mut self, port: u16) -> Self {
        self.master = Some(port);
        self
    }

    /// Adds a directive with its arguments, as a line of `redis.conf` has them, after all that this
    /// crate says.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Starts the server and waits until it serves, which a replica does before it is in sync.
    ///
    /// `redis-server` is taken from the directory that the variable `REDIS_BIN` names, or else from
    /// `/usr/bin` or `PATH`; `redis-cli` from beside it.
    ///
    /// # Errors
    ///
    /// When the program is not found, or when it fails, for example because it does not know a
    /// setting; the error then ends with the last lines of its log.
    pub fn start(self) -> io::Result<RedisServer> {
        RedisServer::create(self)
    }

    /// Makes the server a node of a cluster that has yet to be formed.
    pub(super) fn cluster(mut self) -> Self {
        self.cluster = true;
        self
    }

    pub(super) fn is_tls(&self) -> bool {
        self.tls
    }

    pub(super) fn url(&self, port: u16) -> String {
        let scheme = if self.tls { "rediss" } else { "redis" };
        format!("{scheme}://{}127.0.0.1:{port}", self.access.userinfo())
    }
}
