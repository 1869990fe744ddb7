use super::error::{DEADLOCK, SERIALIZATION_FAILURE};

/// Runs a statement again that took no effect because another transaction was faster, which happens
/// where the session's default isolation is not `read committed`.
///
/// A macro, because the future of an async closure that borrows cannot be shown to be `Send`.
macro_rules! retry {
    ($run:expr) => {{
        let mut tries = 0;
        loop {
            tries += 1;
            match $run {
                Err(error)
                    if tries < $crate::inbox::store::postgres::retry::MAX_TRIES
                        && $crate::inbox::store::postgres::retry::lost_a_race(&error) => {}
                ran => break ran,
            }
        }
    }};
}

pub(super) use retry;

/// Whether a statement took no effect because another transaction was faster.
pub(super) fn lost_a_race(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some(SERIALIZATION_FAILURE | DEADLOCK))
}

// Each try answers one surprise: not prepared, prepared by somebody else meanwhile, a conflict under
// a stricter isolation level.
pub(super) const MAX_TRIES: u32 = 4;
