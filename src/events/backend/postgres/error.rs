use std::{error::Error as _, time::Duration};

use sqlx::{Error, error::DatabaseError};

use crate::{
    error::{StoreError, StoreErrorKind},
    events::{EventsErrorKind, backend::BackendError},
};

/// There was no connection, so nothing happened.
pub(super) fn connecting(error: Error) -> BackendError {
    let kind = connecting_kind(&error);
    if matches!(error, Error::PoolTimedOut) {
        let text = "no connection in time: the server cannot be reached, or all connections of the \
                    pool are in use";
        return BackendError::new(kind, because(StoreErrorKind::Unreachable, text, error));
    }
    BackendError::new(kind, error)
}

/// The statement had left, or was about to.
pub(super) fn asking(error: Error) -> BackendError {
    let kind = match &error {
        Error::Database(error) => asking_kind(&**error),
        Error::Io(_) | Error::Tls(_) | Error::Protocol(_) | Error::WorkerCrashed => {
            EventsErrorKind::OutcomeUnknown
        }
        _ => EventsErrorKind::Other,
    };
    if kind == EventsErrorKind::NotMigrated {
        let text = "the event tables are not there: run `tower-inbox migrate` or call the backend's \
                    `schema().up()` once";
        return BackendError::new(kind, because(StoreErrorKind::NotMigrated, text, error));
    }
    BackendError::new(kind, error)
}

/// The statement has left, and there is no answer.
pub(super) fn no_answer(patience: Duration) -> BackendError {
    BackendError::new(EventsErrorKind::OutcomeUnknown, format!("no answer in {patience:?}"))
}

/// An answer that is none.
pub(super) fn nonsense(what: &str) -> BackendError {
    BackendError::new(EventsErrorKind::Other, format!("the server answered with {what}"))
}

/// For the schema, whose errors are the inbox's.
pub(super) fn for_schema(error: Error, context: &str) -> StoreError {
    let kind = match connecting_kind(&error) {
        EventsErrorKind::Unreachable => StoreErrorKind::Unreachable,
        EventsErrorKind::Busy => StoreErrorKind::Busy,
        EventsErrorKind::Full => StoreErrorKind::Full,
        EventsErrorKind::Refused => StoreErrorKind::ReadOnly,
        _ => StoreErrorKind::Other,
    };
    because(kind, context, error)
}

/// What the schema says.
pub(super) fn of_schema(error: StoreError) -> BackendError {
    let kind = match error.source().and_then(|source| source.downcast_ref()) {
        Some(error) => connecting_kind(error),
        None => match error.kind() {
            StoreErrorKind::NotMigrated
            | StoreErrorKind::SchemaTooOld
            | StoreErrorKind::SchemaTooNew => EventsErrorKind::NotMigrated,
            _ => EventsErrorKind::Other,
        },
    };
    BackendError::new(kind, error)
}

/// Whether a statement took no effect because another transaction was faster.
pub(super) fn lost_a_race(error: &Error) -> bool {
    matches!(code(error).as_deref(), Some(SERIALIZATION_FAILURE | DEADLOCK))
}

/// Whether somebody left a transaction open in the session. What is done in it may be rolled back later.
pub(super) fn is_left_open(error: &Error) -> bool {
    matches!(code(error).as_deref(), Some(NOT_ALONE | IN_FAILED_TRANSACTION))
}

fn connecting_kind(error: &Error) -> EventsErrorKind {
    match error {
        // The last words of a server before it let us in: nothing was asked yet.
        Error::Database(error) => match asking_kind(&**error) {
            EventsErrorKind::OutcomeUnknown => EventsErrorKind::Unreachable,
            kind => kind,
        },
        Error::Io(_)
        | Error::PoolTimedOut
        | Error::PoolClosed
        | Error::Protocol(_)
        | Error::WorkerCrashed => EventsErrorKind::Unreachable,
        // A certificate that does not fit, or no TLS where it is asked for.
        Error::Tls(_) => EventsErrorKind::Refused,
        Error::Configuration(_) => EventsErrorKind::Config,
        _ => EventsErrorKind::Other,
    }
}

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn asking_kind(error: &dyn DatabaseError) -> EventsErrorKind {
    let Some(code) = error.code() else { return EventsErrorKind::Other };
    match &*code {
        // undefined schema, table, function
        "3F000" | "42P01" | "42883" => EventsErrorKind::NotMigrated,
        SERIALIZATION_FAILURE | DEADLOCK | NOT_ALONE | IN_FAILED_TRANSACTION => {
            EventsErrorKind::Busy
        }
        // lock not available, query canceled, too many connections, out of shared memory, cannot connect
        // now, not in a read-write transaction: the last two while it starts or fails over
        "55P03" | "57014" | "53300" | "53200" | "57P03" | "25006" => EventsErrorKind::Busy,
        // disk full
        "53100" => EventsErrorKind::Full,
        // insufficient privilege
        "42501" => EventsErrorKind::Refused,
        // no such role, or password
        code if code.starts_with("28") => EventsErrorKind::Refused,
        // no such database
        "3D000" => EventsErrorKind::Config,
        // the session had been idle for too long, which it says to whoever asks next
        "57P05" | "25P03" => EventsErrorKind::Unreachable,
        // shut down, crashed: possibly between the commit and the word of it
        "57P01" | "57P02" => EventsErrorKind::OutcomeUnknown,
        // connection exceptions; PgBouncer speaks like this of a server that went away
        code if code.starts_with("08") => EventsErrorKind::OutcomeUnknown,
        _ => EventsErrorKind::Other,
    }
}

fn because(kind: StoreErrorKind, text: &str, error: Error) -> StoreError {
    StoreError::new(kind, text).with_source(error)
}

fn code(error: &Error) -> Option<std::borrow::Cow<'_, str>> {
    error.as_database_error().and_then(DatabaseError::code)
}

const SERIALIZATION_FAILURE: &str = "40001";
const DEADLOCK: &str = "40P01";
const IN_FAILED_TRANSACTION: &str = "25P02";
/// SQLSTATE of `tower_inbox.alone`.
const NOT_ALONE: &str = "TI005";
