use std::{error::Error, fmt};

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why a request failed, as far as anybody can act on it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    source: RedisError,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// No connection was made. Nothing happened.
    Unreachable,
    /// The request left, and no answer came.
    Unanswered,
    /// The server says to try later: it loads, fails over, reshards. Nothing happened.
    Busy,
    /// The memory or the disk is full. Nothing happened.
    Full,
    /// Credentials or permissions.
    Refused,
    /// The URL or what it leads to makes no sense.
    Config,
    /// A script does not know the secret that signed its ids.
    ForeignSecret,
    /// A script refused one more window.
    TooManyWindows,
    Other,
}

impl Failure {
    /// What went wrong while a connection was made.
    pub(crate) fn connecting(source: RedisError) -> Self {
        let kind = match of(&source) {
            FailureKind::Unanswered => FailureKind::Unreachable,
            kind => kind,
        };
        Self { kind, source }
    }

    /// What went wrong with a request that left.
    pub(crate) fn asking(source: RedisError) -> Self {
        Self { kind: of(&source), source }
    }

    /// What makes no sense before anything is asked.
    pub(crate) fn config(text: String) -> Self {
        let kind = ErrorKind::InvalidClientConfig;
        Self::asking(RedisError::from((kind, "not a way to Redis", text)))
    }

    /// An answer that is none of those that were expected.
    pub(crate) fn unexpected(what: &'static str) -> Self {
        Self::asking(RedisError::from((ErrorKind::UnexpectedReturnType, what)))
    }

    /// Whether the connection is of no further use.
    pub(super) fn breaks_connection(error: &RedisError) -> bool {
        // A server that became a replica stays one, and a timeout may be a connection that died
        // without a word.
        let replica = matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly))
            || is_replica_in_a_script(error);
        error.is_io_error() || error.is_unrecoverable_error() || replica
    }
}

fn of(error: &RedisError) -> FailureKind {
    match error.kind() {
        ErrorKind::Server(kind) => match kind {
            ServerErrorKind::BusyLoading
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ReadOnly => FailureKind::Busy,
            ServerErrorKind::NoPerm => FailureKind::Refused,
            _ => by_code(error),
        },
        ErrorKind::Extension => by_code(error),
        ErrorKind::AuthenticationFailed => FailureKind::Refused,
        ErrorKind::InvalidClientConfig | ErrorKind::RESP3NotSupported => FailureKind::Config,
        ErrorKind::MasterNameNotFoundBySentinel | ErrorKind::NoValidReplicasFoundBySentinel => {
            FailureKind::Unreachable
        }
        ErrorKind::ClusterConnectionNotFound => FailureKind::Unreachable,
        ErrorKind::Io | ErrorKind::Parse => {
            if error.is_connection_refusal() {
                FailureKind::Unreachable
            } else {
                FailureKind::Unanswered
            }
        }
        _ => FailureKind::Other,
    }
}

fn by_code(error: &RedisError) -> FailureKind {
    match error.code() {
        Some("OOM" | "MISCONF") => FailureKind::Full,
        Some("BUSY" | "NOREPLICAS" | "UNKILLABLE") => FailureKind::Busy,
        Some("NOAUTH" | "WRONGPASS" | "NOPERM") => FailureKind::Refused,
        Some("TISECRET") => FailureKind::ForeignSecret,
        Some("TIWINDOWS") => FailureKind::TooManyWindows,
        _ => {
            // An error inside of a script has the script's own code; what caused it is in its text.
            let text = error.detail().unwrap_or_default();
            if text.contains("OOM command not allowed") || text.contains("-MISCONF") {
                FailureKind::Full
            } else if is_replica_in_a_script(error) {
                FailureKind::Busy
            } else if text.contains("non local key in a cluster") {
                // The shard is moving to another node, and the script was stopped in the middle.
                FailureKind::Unanswered
            } else if text.contains("NOPERM") || text.contains("ACL failure") {
                FailureKind::Refused
            } else {
                FailureKind::Other
            }
        }
    }
}

/// Before Redis 7 a script that may not write says so in a text.
fn is_replica_in_a_script(error: &RedisError) -> bool {
    error.detail().is_some_and(|text| text.contains("-READONLY"))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            FailureKind::Unreachable => "no connection to Redis",
            FailureKind::Unanswered => "no answer from Redis",
            FailureKind::Busy => "Redis is busy with itself",
            FailureKind::Full => "Redis is full",
            FailureKind::Refused => "Redis refuses",
            FailureKind::Config => "the way to Redis is not valid",
            FailureKind::ForeignSecret => "the marks in Redis are signed with another secret",
            FailureKind::TooManyWindows => "there are as many distinct windows as are allowed",
            FailureKind::Other => "Redis failed",
        })
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stopped_a_script_is_found_in_its_text() {
        for (text, kind) in [
            (
                "Error running script: @user_script: 30: -READONLY You can't write",
                FailureKind::Busy,
            ),
            ("Error running script: @user_script: 30: -MISCONF Redis is", FailureKind::Full),
            ("Error running script: @user_script: 30: -OOM command not allowed", FailureKind::Full),
            (
                "Script attempted to access a non local key in a cluster node script: f",
                FailureKind::Unanswered,
            ),
            ("Error compiling script", FailureKind::Other),
        ] {
            let kind_of = |text: &str| {
                let answer = ErrorKind::Server(ServerErrorKind::ResponseError);
                RedisError::from((answer, "An error was signalled", text.to_owned()))
            };
            assert_eq!(of(&kind_of(text)), kind, "{text}");
            assert_eq!(Failure::breaks_connection(&kind_of(text)), kind == FailureKind::Busy);
        }
    }
}
