use std::time::Duration;

use uuid::Uuid;

use super::{
    PgBackend,
    error::nonsense,
    groups::{Groups, firsts, pieces},
    keys::Keys,
    marks::for_window,
};
use crate::events::{
    ClaimToken, EventIds, EventWindow,
    backend::{BackendError, ClaimAnswer},
};

pub(super) async fn claim(
    backend: &PgBackend,
    ids: &EventIds,
    tokens: &[ClaimToken],
    lease: Duration,
) -> Result<Vec<ClaimAnswer>, BackendError> {
    backend.sweep_along(ids.len()).await;
    let lease = i64::try_from(lease.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX / 2);
    let mut answers = vec![ClaimAnswer::InFlight; ids.len()];
    for piece in pieces(ids, backend.batch) {
        let groups = Groups::of(ids, piece);
        let mut asked = groups.each(ids);
        while !asked.is_empty() {
            let places = firsts(&asked);
            let ask = |keys: &Keys<'_>| {
                keys.statement(include_str!("sql/claim.sql"))
                    .value(keys.exact())
                    .value(&*under(tokens, &places))
                    .value(lease)
            };
            let found = backend.ask_about(ids, &places, &ask).await?;
            let found =
                read(&found, places.len()).ok_or_else(|| nonsense("something else than claims"))?;
            asked = asked
                .into_iter()
                .zip(found)
                .filter_map(|(group, found)| answer(group, found, tokens, &mut answers))
                .collect();
        }
    }
    Ok(answers)
}

pub(super) async fn confirm(
    backend: &PgBackend,
    ids: &EventIds,
    tokens: &[ClaimToken],
    window: &EventWindow,
) -> Result<Vec<bool>, BackendError> {
    backend.sweep_along(ids.len()).await;
    let mut answers = vec![false; ids.len()];
    for piece in pieces(ids, backend.batch) {
        let groups = Groups::of(ids, piece);
        let mut asked = groups.each(ids);
        while !asked.is_empty() {
            let places = firsts(&asked);
            let ask = |keys: &Keys<'_>| {
                let statement = keys
                    .statement(include_str!("sql/confirm.sql"))
                    .value(keys.exact())
                    .value(&*under(tokens, &places));
                for_window(statement, window)
            };
            let confirmed = backend.ask_yes_or_no(ids, &places, &ask).await?;
            asked = asked
                .into_iter()
                .zip(confirmed)
                .filter_map(|(group, confirmed)| {
                    if confirmed {
                        // It is seen and nobody's now, so nobody else's.
                        group.iter().for_each(|place| answers[*place] = true);
                        return None;
                    }
                    // Somebody else's; the token of a later one may be theirs.
                    let refused = tokens[group[0]];
                    let next = group.iter().position(|place| tokens[*place] != refused)?;
                    Some(&group[next..])
                })
                .collect();
        }
    }
    Ok(answers)
}

pub(super) async fn release(
    backend: &PgBackend,
    ids: &EventIds,
    tokens: &[ClaimToken],
) -> Result<Vec<bool>, BackendError> {
    let mut answers = vec![false; ids.len()];
    for piece in pieces(ids, backend.batch) {
        let mut places: Vec<usize> = piece.collect();
        let claim = |place: &usize| (ids.get(*place), tokens[*place].as_bytes());
        places.sort_by(|a, b| claim(a).cmp(&claim(b)));
        // What is given up once cannot be given up again.
        places.dedup_by(|a, b| claim(a) == claim(b));
        let ask = |keys: &Keys<'_>| {
            keys.statement(include_str!("sql/release.sql")).value(&*under(tokens, &places))
        };
        let released = backend.ask_yes_or_no(ids, &places, &ask).await?;
        for (place, released) in places.into_iter().zip(released) {
            answers[place] = released;
        }
    }
    Ok(answers)
}

/// What the server found when it was asked to claim an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Claimed,
    Seen,
    Owner(Uuid),
}

/// Answers for the places of one event; what is returned has to be asked for.
fn answer<'a>(
    group: &'a [usize],
    found: Found,
    tokens: &[ClaimToken],
    answers: &mut [ClaimAnswer],
) -> Option<&'a [usize]> {
    match found {
        Found::Seen => group.iter().for_each(|place| answers[*place] = ClaimAnswer::Seen),
        Found::Claimed => {
            for place in group {
                if tokens[*place] == tokens[group[0]] {
                    answers[*place] = ClaimAnswer::Claimed;
                }
            }
        }
        // It is in flight, as all are unless something else is known.
        Found::Owner(owner) => {
            let next = group.iter().position(|place| uuid(&tokens[*place]) == owner)?;
            return Some(&group[next..]);
        }
    }
    None
}

/// Reads the letters of an answer.
fn read(mut letters: &str, events: usize) -> Option<Vec<Found>> {
    let mut found = Vec::with_capacity(events);
    while let Some(letter) = letters.chars().next() {
        letters = &letters[letter.len_utf8()..];
        found.push(match letter {
            'c' => Found::Claimed,
            's' => Found::Seen,
            'f' => {
                let (owner, rest) = letters.split_at_checked(UUID)?;
                letters = rest;
                Found::Owner(owner.parse().ok()?)
            }
            _ => return None,
        });
    }
    (found.len() == events).then_some(found)
}

fn under(tokens: &[ClaimToken], places: &[usize]) -> Vec<Uuid> {
    places.iter().map(|place| uuid(&tokens[*place])).collect()
}

fn uuid(token: &ClaimToken) -> Uuid {
    Uuid::from_bytes(*token.as_bytes())
}

// With its hyphens.
const UUID: usize = 36;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_letters_of_a_claim_are_read() {
        let owner = Uuid::from_u128(7);
        assert_eq!(
            read(&format!("cf{owner}sc"), 4),
            Some(vec![Found::Claimed, Found::Owner(owner), Found::Seen, Found::Claimed])
        );
        for wrong in ["c", "ccc", "cx", "cf0000", "c?"] {
            assert_eq!(read(wrong, 2), None, "{wrong}");
        }
    }

    #[test]
    fn equal_events_answer_one_after_the_other() {
        let token = |n| ClaimToken::from_bytes([n; 16]);
        let tokens = [token(1), token(2), token(1), token(3)];
        let of = |found| {
            let mut answers = [ClaimAnswer::InFlight; 4];
            let rest = answer(&[0, 1, 2, 3], found, &tokens, &mut answers);
            (answers, rest.map(<[usize]>::to_vec))
        };
        use ClaimAnswer::{Claimed, InFlight, Seen};
        assert_eq!(of(Found::Claimed), ([Claimed, InFlight, Claimed, InFlight], None));
        assert_eq!(of(Found::Seen), ([Seen; 4], None));
        let other = Found::Owner(uuid(&token(9)));
        assert_eq!(of(other), ([InFlight; 4], None));
        let second = Found::Owner(uuid(&token(2)));
        assert_eq!(of(second), ([InFlight; 4], Some(vec![1, 2, 3])));
    }
}
