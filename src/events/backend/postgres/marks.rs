use super::{
    PgBackend,
    groups::{Groups, firsts, pieces},
    keys::Keys,
};
use crate::{
    events::{EventIds, EventWindow, EventsErrorKind, backend::BackendError},
    sql::Statement,
};

pub(super) async fn look(backend: &PgBackend, ids: &EventIds) -> Result<Vec<bool>, BackendError> {
    let mut answers = vec![false; ids.len()];
    for piece in pieces(ids, backend.batch) {
        let groups = Groups::of(ids, piece);
        let groups = groups.each(ids);
        let ask =
            |keys: &Keys<'_>| keys.statement(include_str!("sql/look.sql")).value(keys.exact());
        let seen = backend.ask_yes_or_no(ids, &firsts(&groups), &ask).await?;
        for (group, seen) in groups.into_iter().zip(seen) {
            group.iter().for_each(|place| answers[*place] = seen);
        }
    }
    Ok(answers)
}

pub(super) async fn mark(
    backend: &PgBackend,
    ids: &EventIds,
    window: &EventWindow,
) -> Result<Vec<bool>, BackendError> {
    backend.sweep_along(ids.len()).await;
    let mut answers = vec![false; ids.len()];
    for (number, piece) in pieces(ids, backend.batch).into_iter().enumerate() {
        let groups = Groups::of(ids, piece);
        let groups = groups.each(ids);
        let ask = |keys: &Keys<'_>| {
            for_window(keys.statement(include_str!("sql/mark.sql")).value(keys.exact()), window)
                .value(window.is_sliding())
        };
        let new = backend.ask_yes_or_no(ids, &firsts(&groups), &ask).await;
        let new = if number == 0 { new } else { new.map_err(after_the_first) }?;
        // Of equal events the first is new, or none is.
        for (group, new) in groups.into_iter().zip(new) {
            answers[group[0]] = new;
        }
    }
    Ok(answers)
}

/// Adds the length and the slot of a window to a statement.
pub(super) fn for_window(statement: Statement, window: &EventWindow) -> Statement {
    let millis = |time: std::time::Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    // There is a slot in every calculation, but none is divided by for a window without an end.
    statement.value(window.length().map(millis)).value(millis(window.slot()).max(1))
}

/// A part of the batch is marked: who asks again for all of it is told that this part was seen.
fn after_the_first(error: BackendError) -> BackendError {
    match error.kind() {
        EventsErrorKind::Unreachable | EventsErrorKind::Busy => {
            BackendError::new(EventsErrorKind::OutcomeUnknown, error)
        }
        _ => error,
    }
}
