use sqlx::{
    error::DatabaseError,
    postgres::{PgDatabaseError, PgSeverity},
};

use crate::{
    error::{StoreError, StoreErrorKind},
    inbox::store::sql_error,
};

/// SQLSTATEs of `tower_inbox.make_room`.
pub(super) const DUPLICATE: &str = "TI001";
pub(super) const IN_FLIGHT: &str = "TI002";

/// SQLSTATEs of `tower_inbox.tell_batch` and `tower_inbox.contend_batch`.
pub(super) const PART_OF_BATCH: &str = "TI003";
pub(super) const NONE_OF_BATCH: &str = "TI004";

/// SQLSTATE of `tower_inbox.alone`.
pub(super) const NOT_ALONE: &str = "TI005";

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
pub(super) const NO_SUCH_PREPARED: &str = "26000";
pub(super) const PREPARED_EXISTS: &str = "42P05";
pub(super) const UNIQUE_VIOLATION: &str = "23505";
pub(super) const SERIALIZATION_FAILURE: &str = "40001";
pub(super) const DEADLOCK: &str = "40P01";
pub(super) const LOCK_NOT_AVAILABLE: &str = "55P03";
pub(super) const IN_FAILED_TRANSACTION: &str = "25P02";
const NO_TRANSACTION: &str = "25P01";

/// SQLSTATE of `tower_inbox.bucket_level`.
const LEVEL: &str = "TI010";

pub(super) fn classify(error: sqlx::Error, context: &str) -> StoreError {
    if error.as_database_error().and_then(DatabaseError::code).as_deref() == Some(LEVEL) {
        let why = "buckets need `read committed`, and the session's default_transaction_isolation \
                   is another: set it for the store's pool";
        return StoreError::new(StoreErrorKind::Other, format!("{context}: {why}"))
            .with_source(error);
    }
    sql_error::classify(error, context, kind)
}

/// The same for statements that are not about our tables.
pub(super) fn classify_foreign(error: sqlx::Error, context: &str) -> StoreError {
    sql_error::classify(error, context, |error| {
        kind(error).filter(|kind| *kind != StoreErrorKind::NotMigrated)
    })
}

/// Whether the session is gone, be it that the server said so with its last words.
pub(super) fn ends_session(error: &sqlx::Error) -> bool {
    let error = error.as_database_error().and_then(|error| error.try_downcast_ref());
    error.is_none_or(|error: &PgDatabaseError| {
        matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic)
    })
}

fn kind(error: &dyn DatabaseError) -> Option<StoreErrorKind> {
    let code = error.code()?;
    Some(match &*code {
        // undefined schema, table, function, sequence
        "3F000" | "42P01" | "42883" => StoreErrorKind::NotMigrated,
        SERIALIZATION_FAILURE | DEADLOCK | LOCK_NOT_AVAILABLE | "53300" | "57014" => {
            StoreErrorKind::Busy
        }
        // out of shared memory: the lock table is full
        "53200" => StoreErrorKind::Busy,
        // not in a read-write transaction, insufficient privilege
        "25006" | "42501" => StoreErrorKind::ReadOnly,
        "53100" => StoreErrorKind::Full,
        // admin shutdown, crash shutdown, cannot connect now, idle session, idle in transaction
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => StoreErrorKind::Unreachable,
        IN_FAILED_TRANSACTION | NO_TRANSACTION => StoreErrorKind::Aborted,
        // connection exceptions; no such role or password; no such database
        code if code.starts_with("08") || code.starts_with("28") || code == "3D000" => {
            StoreErrorKind::Unreachable
        }
        _ => return None,
    })
}
