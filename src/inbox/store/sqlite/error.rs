use sqlx::error::DatabaseError;

use crate::{
    error::{StoreError, StoreErrorKind},
    inbox::store::sql_error,
};

pub(super) fn classify(error: sqlx::Error, context: &str) -> StoreError {
    if matches!(error, sqlx::Error::PoolTimedOut) {
        // The pool's connection is the one writer.
        return StoreError::new(
            StoreErrorKind::Busy,
            format!("{context}: another delivery held the one writer for too long"),
        )
        .with_source(error);
    }
    sql_error::classify(error, context, kind)
}

/// <https://www.sqlite.org/rescode.html>
fn kind(error: &dyn DatabaseError) -> Option<StoreErrorKind> {
    let extended: i32 = error.code()?.parse().ok()?;
    Some(match extended & 0xff {
        SQLITE_BUSY | SQLITE_LOCKED => StoreErrorKind::Busy,
        SQLITE_READONLY => StoreErrorKind::ReadOnly,
        SQLITE_FULL => StoreErrorKind::Full,
        SQLITE_IOERR | SQLITE_CANTOPEN => StoreErrorKind::Unreachable,
        _ => return None,
    })
}

const SQLITE_BUSY: i32 = 5;
const SQLITE_LOCKED: i32 = 6;
const SQLITE_READONLY: i32 = 8;
const SQLITE_IOERR: i32 = 10;
const SQLITE_FULL: i32 = 13;
const SQLITE_CANTOPEN: i32 = 14;
