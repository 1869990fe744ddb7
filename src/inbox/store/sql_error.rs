use crate::error::{StoreError, StoreErrorKind};

/// The part of the classification that is the same for every database.
///
/// `code` asks the database's own error for a kind; `None` leaves it at `Other`.
pub(super) fn classify(
    error: sqlx::Error,
    context: &str,
    code: fn(&dyn sqlx::error::DatabaseError) -> Option<StoreErrorKind>,
) -> StoreError {
    let pool_timed_out = matches!(error, sqlx::Error::PoolTimedOut);
    let kind = match &error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Protocol(_) => StoreErrorKind::Unreachable,
        sqlx::Error::Database(error) => code(&**error).unwrap_or(StoreErrorKind::Other),
        _ => StoreErrorKind::Other,
    };
    let context = match kind {
        StoreErrorKind::Unreachable if pool_timed_out => format!(
            "{context}: no connection in time; the database cannot be reached, or the pool is too \
             small for so many deliveries at once"
        ),
        StoreErrorKind::Unreachable => format!("{context}: the database cannot be reached"),
        StoreErrorKind::Busy => format!("{context}: the database is busy, try again"),
        StoreErrorKind::NotMigrated => format!(
            "{context}: the inbox tables are not there, run `tower-inbox migrate` or call the \
             store's `schema().up()` once"
        ),
        StoreErrorKind::ReadOnly => format!("{context}: the database may not be written"),
        StoreErrorKind::Full => format!("{context}: the disk is full"),
        _ => context.to_owned(),
    };
    StoreError::new(kind, context).with_source(error)
}
