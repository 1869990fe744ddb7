use std::{io, path::Path};

use super::{
    RedisBuilder,
    authority::Identity,
    cli::Cli,
    process::{Process, Role},
};
use crate::port::{free_port, retry_taken_ports};

/// A private Redis server with a directory of its own.
///
/// It listens on a loopback port and, as long as the builder names neither a password nor a user,
/// lets everybody in. Dropping the value stops the server and removes the directory; so does the
/// death of the process.
///
/// Every server also knows the user `tower-inbox-operator`, who may do everything: through it come
/// [`cli`](Self::cli), replicas and sentinels.
#[derive(Debug)]
pub struct RedisServer {
    options: RedisBuilder,
    identity: Option<Identity>,
    port: u16,
    /// Where the nodes of a cluster talk to each other.
    bus_port: u16,
    process: Process,
}

impl RedisServer {
    /// Starts a server that keeps everything in memory, without a limit, and lets everybody in.
    ///
    /// # Errors
    ///
    /// See [`RedisBuilder::start`].
    pub fn start() -> io::Result<Self> {
        Self::builder().start()
    }

    /// Describes a server with other settings.
    pub fn builder() -> RedisBuilder {
        RedisBuilder::new()
    }

    pub(super) fn create(options: RedisBuilder) -> io::Result<Self> {
        let process = Process::prepare(Role::Server)?;
        let identity =
            options.is_tls().then(|| Identity::create_in(process.directory())).transpose()?;
        let mut server = Self { options, identity, port: 0, bus_port: 0, process };
        retry_taken_ports(|| {
            server.port = free_port()?;
            // Redis would take the port 10000 above, where systems have outgoing connections.
            server.bus_port = free_port()?;
            let identity = server.identity.as_ref();
            let config = server.options.config(server.port, server.bus_port, identity);
            server.process.configure(&config)?;
            server.process.start()
        })?;
        Ok(server)
    }

    /// The URL for clients: `redis` or `rediss`, with the first user or else the password, where
    /// there are.
    pub fn url(&self) -> String {
        self.options.url(self.port)
    }

    /// The loopback port, which stays the same over [`restart`](Self::restart).
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The certificate, in PEM, that a client has to trust; `None` without
    /// [TLS](RedisBuilder::tls). All servers of this process have the same.
    pub fn ca_file(&self) -> Option<&Path> {
        self.identity.as_ref().map(Identity::ca)
    }

    /// The number of the process; `None` after [`kill`](Self::kill) and [`stop`](Self::stop).
    pub fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// Runs one command through `redis-cli`, as a user who may do everything; returns what it
    /// printed.
    ///
    /// # Errors
    ///
    /// When the server does not run, answers with an error, which is in the message, or does not
    /// answer in a minute, as one that is paused.
    pub fn cli(&self, args: &[&str]) -> io::Result<String> {
        let program = &self.process.client();
        Cli { program, port: self.port, ca: self.ca_file(), as_operator: true }.run(args)
    }

    /// Pauses the server: its port accepts connections and what they send, but nothing is answered.
    ///
    /// Does nothing when the server is stopped.
    ///
    /// # Errors
    ///
    /// When the process cannot be signalled.
    pub fn pause(&self) -> io::Result<()> {
        self.process.signal("STOP")
    }

    /// Lets a paused server go on with what it has been sent in the meantime.
    ///
    /// Does nothing when the server is stopped, or not paused.
    ///
    /// # Errors
    ///
    /// When the process cannot be signalled.
    pub fn resume(&self) -> io::Result<()> {
        self.process.signal("CONT")
    }

    /// Kills the server with -9, paused or not: no goodbye to clients, no last flush.
    ///
    /// Does nothing when the server is already stopped.
    ///
    /// # Errors
    ///
    /// When the process can neither be signalled nor waited for.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.kill()
    }

    /// Stops the server as a deployment does: it gives its replicas some seconds to receive the
    /// rest, and says goodbye.
    ///
    /// Does nothing when the server is already stopped.
    ///
    /// # Errors
    ///
    /// When the process can neither be signalled nor waited for.
    pub fn stop(&mut self) -> io::Result<()> {
        self.process.stop()
    }

    /// Starts a stopped server on its old port, and waits until it serves; one that runs is stopped
    /// before.
    ///
    /// It has its old data if it is [append-only](RedisBuilder::append_only), and none otherwise.
    /// What a sentinel or [`promote`](Self::promote) made of it, it still is.
    ///
    /// # Errors
    ///
    /// When the server does not come up, with the last lines of its log; of kind `AddrInUse` when
    /// somebody else has taken the port.
    pub fn restart(&mut self) -> io::Result<()> {
        self.process.stop()?;
        self.process.start()
    }

    pub(super) fn bus_port(&self) -> u16 {
        self.bus_port
    }
}
