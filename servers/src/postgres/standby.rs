use std::io;

use super::PostgresServer;

/// Describes a streaming replica of a [`PostgresServer`] before it is started.
#[derive(Clone, Debug)]
#[must_use = "a builder starts nothing before `start`"]
pub struct StandbyBuilder<'a> {
    primary: &'a PostgresServer,
    synchronous: bool,
    port: u16,
}

impl<'a> StandbyBuilder<'a> {
    pub(super) fn new(primary: &'a PostgresServer) -> Self {
        Self { primary, synchronous: false, port: primary.port() }
    }

    /// Whether the primary waits for the replica before it acknowledges a commit. Default: `false`.
    ///
    /// With a primary that is not [durable](super::PostgresBuilder::durable) it waits for nothing,
    /// because `synchronous_commit` is off.
    pub fn synchronous(mut self, synchronous: bool) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// Streams through another loopback port, such as that of a
    /// [`DelayProxy`](crate::DelayProxy) before the primary. Default: the primary's own.
    pub fn through(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Copies the primary, starts the replica under the primary's settings, and waits until it
    /// streams, and until the primary waits for it if it is synchronous.
    ///
    /// # Errors
    ///
    /// As [`PostgresBuilder::start`](super::PostgresBuilder::start), and when it does not stream.
    pub fn start(self) -> io::Result<PostgresServer> {
        PostgresServer::create_standby(self.primary, self.port, self.synchronous)
    }
}
