use std::{path::PathBuf, time::Duration};

/// How to connect.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) connect_timeout: Duration,
    /// From a request's beginning to its answer.
    pub(crate) response_timeout: Duration,
    /// How many connections the requests take turns on.
    pub(crate) connections: usize,
    pub(crate) certificates: Certificates,
}

/// Files in PEM, for TLS.
#[derive(Debug, Clone, Default)]
pub(crate) struct Certificates {
    pub(crate) authority: Option<PathBuf>,
    /// Our own certificate and its key, for servers that ask for one.
    pub(crate) own: Option<(PathBuf, PathBuf)>,
}
