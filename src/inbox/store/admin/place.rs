//! Where a page ends, written into a cursor; the same for both databases.

use crate::{
    error::{StoreError, StoreErrorKind},
    inbox::store::Cursor,
    key::InboxKey,
};

pub(in crate::inbox::store) fn of_key(key: InboxKey) -> Cursor {
    Cursor::new(key.as_bytes().to_vec())
}

pub(in crate::inbox::store) fn key(cursor: &Cursor) -> Result<InboxKey, StoreError> {
    cursor.as_bytes().try_into().map(InboxKey::from_bytes).map_err(|_| foreign())
}

pub(in crate::inbox::store) fn of_number(number: i64) -> Cursor {
    Cursor::new(number.to_be_bytes().to_vec())
}

/// Counts down, from the largest.
pub(in crate::inbox::store) fn number(cursor: Option<&Cursor>) -> Result<i64, StoreError> {
    match cursor {
        None => Ok(i64::MAX),
        Some(cursor) => cursor.as_bytes().try_into().map(i64::from_be_bytes).map_err(|_| foreign()),
    }
}

pub(in crate::inbox::store) fn of_letter(time: i64, consumer: i16, key: InboxKey) -> Cursor {
    Cursor::new([&time.to_be_bytes()[..], &consumer.to_be_bytes(), key.as_bytes()].concat())
}

/// The three columns that letters are in the order of.
pub(in crate::inbox::store) fn letter(
    cursor: Option<&Cursor>,
) -> Result<(i64, i16, InboxKey), StoreError> {
    let Some(cursor) = cursor else {
        // In front of every letter there can be.
        return Ok((i64::from(i32::MIN), i16::MIN, InboxKey::from_bytes([0; 16])));
    };
    let (time, rest) = cursor.as_bytes().split_first_chunk().ok_or_else(foreign)?;
    let (consumer, key) = rest.split_first_chunk().ok_or_else(foreign)?;
    let key = key.try_into().map(InboxKey::from_bytes).map_err(|_| foreign())?;
    Ok((i64::from_be_bytes(*time), i16::from_be_bytes(*consumer), key))
}

fn foreign() -> StoreError {
    StoreError::new(StoreErrorKind::Other, "the cursor is not one of this list")
}
