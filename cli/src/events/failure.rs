use tower_inbox::events::{EventsError, EventsErrorKind};

use crate::error::Failure;

/// Says what went wrong with a store, and what to do.
pub(super) fn failure(error: EventsError, shown: &str) -> Failure {
    let what = format!("{shown}: {error}");
    let failure = match error.kind() {
        EventsErrorKind::Config => Failure::usage(what),
        _ => Failure::stopped(what),
    };
    let failure = match advice(error.kind()) {
        Some(advice) => failure.advice(advice),
        None => failure,
    };
    failure.because(error)
}

/// Whether the store is to blame and the next question may find it well again: what `--fail-open`
/// is for.
pub(super) fn is_outage(kind: EventsErrorKind) -> bool {
    matches!(
        kind,
        EventsErrorKind::Unreachable
            | EventsErrorKind::OutcomeUnknown
            | EventsErrorKind::Busy
            | EventsErrorKind::CircuitOpen
            | EventsErrorKind::Full
            | EventsErrorKind::Other
    )
}

pub(super) fn advice(kind: EventsErrorKind) -> Option<&'static str> {
    Some(match kind {
        EventsErrorKind::Config => {
            "write --store memory, redis://HOST, redis-cluster://HOST,HOST, \
             redis-sentinel://HOST,HOST/MASTER or postgres://USER@HOST/NAME; a namespace keeps the \
             settings that it was begun with, and --namespace names another one"
        }
        EventsErrorKind::Unreachable | EventsErrorKind::CircuitOpen => {
            "check that --store names the right place, that it is there and that you may use it; \
             then run the same command again"
        }
        EventsErrorKind::OutcomeUnknown | EventsErrorKind::Busy => {
            "look at the server, then run the same command again; what was claimed and not \
             confirmed waits for its lease"
        }
        EventsErrorKind::Full => {
            "give the server more memory, or shorten the window; then run the same command again"
        }
        EventsErrorKind::Refused => {
            "`tower-inbox events health` with the same --store says what is wrong; check the user, \
             the password and the server's maxmemory-policy, which must be noeviction"
        }
        EventsErrorKind::TooManyWindows => {
            "use one of the windows that the namespace has already, or another --namespace"
        }
        EventsErrorKind::NotMigrated => {
            "run `tower-inbox migrate --database` with the URL of --store once"
        }
        _ => return None,
    })
}
