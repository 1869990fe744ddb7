use std::{sync::Arc, time::Duration};

use sqlx::{Row, SqliteExecutor, sqlite::SqliteRow};

use super::{
    super::{Now, SqliteStore, error::classify},
    key_of,
};
use crate::{
    error::StoreError,
    inbox::store::{
        AgeHistogram, Attempts, AuditEntry, AuditFilter, ClaimFilter, ClaimState, ClaimSummary,
        ConsumerId, ConsumerSummary, Cursor, DeadLetter, Explanation, FailedAttempts, LeaseSummary,
        LetterFilter, LetterState, LetterSummary, Page, Paging, RecordSummary,
        admin::{LetterSeen, Seen, handled_at, moment, place},
    },
    key::{Fingerprint, InboxKey},
};

pub(super) async fn consumers(store: &SqliteStore) -> Result<Vec<ConsumerSummary>, StoreError> {
    let consumer = |row: SqliteRow| {
        let window: u32 = row.try_get(1)?;
        let window = Duration::from_secs(window.into());
        let count = |column: usize| row.try_get(column).map(i64::cast_unsigned);
        let name: String = row.try_get(0)?;
        let mut consumer = ConsumerSummary::new(name, window, key_of(&row, 2)?);
        consumer.live = count(3)?;
        consumer.in_flight = count(4)?;
        consumer.expired = count(5)?;
        consumer.dead_letters = count(6)?;
        consumer.requeued = count(7)?;
        Ok(consumer)
    };
    sqlx::query(include_str!("sql/consumers.sql"))
        .bind(store.now().floor())
        .fetch_all(&store.pool)
        .await
        .and_then(|rows| rows.into_iter().map(consumer).collect())
        .map_err(|error| classify(error, "could not read the consumers"))
}

pub(super) async fn claims(
    store: &SqliteStore,
    filter: &ClaimFilter,
    paging: &Paging,
) -> Result<Page<ClaimSummary>, StoreError> {
    let failed = |error| classify(error, "could not list the claims");
    let Found { id: consumer, window, .. } = find(store, &filter.consumer).await?;
    let now = store.now().floor();
    let after = paging.after.as_ref().map(place::key).transpose()?;
    // No key is shorter than an empty one.
    let after = after.map_or_else(Vec::new, |key| key.as_bytes().to_vec());
    let rows = sqlx::query(include_str!("sql/claims.sql"))
        .bind(consumer.get())
        .bind(after)
        .bind(filter.state.map(ClaimState::as_str))
        .bind(i64::from(paging.limit) + 1)
        .bind(now)
        .fetch_all(&store.pool)
        .await
        .map_err(failed)?;
    let claim = |row: SqliteRow| {
        let state: String = row.try_get(2)?;
        let state = state.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        let mut claim = ClaimSummary::new(key_of(&row, 0)?, state);
        let until: Option<i64> = row.try_get(1)?;
        claim.until = until.map(moment);
        if matches!(state, ClaimState::Handled | ClaimState::Dead) {
            claim.handled_at = until.and_then(|until| handled_at(until, window, now));
        }
        claim.attempts = row.try_get(3)?;
        Ok(claim)
    };
    let claims: Result<Vec<_>, _> = rows.into_iter().map(claim).collect();
    Ok(Page::cut(claims.map_err(failed)?, paging.limit, |claim| place::of_key(claim.key)))
}

pub(super) async fn explain(
    store: &SqliteStore,
    consumer: Arc<str>,
    key: InboxKey,
) -> Result<Explanation, StoreError> {
    let failed = |error| classify(error, "could not explain the message");
    let Found { id, window, probe } = find(store, &consumer).await?;
    let row = seen_row(&store.pool, id, key).await.map_err(failed)?;
    let state = seen(&row, window, store.now()).map_err(failed)?.state();
    let window = Duration::from_secs(window.cast_unsigned());
    let mut explanation = Explanation::new(Arc::clone(&consumer), key, window, probe, state);
    beside(&row, &mut explanation).map_err(failed)?;
    explanation.letter = letter_of(&store.pool, id, key).await?.map(|letter| letter.summary);
    let filter = AuditFilter::default().consumer(consumer).key(key);
    explanation.audit = audit(store, &filter, &Paging::first(20)).await?.items;
    Ok(explanation)
}

pub(super) async fn letters(
    store: &SqliteStore,
    filter: &LetterFilter,
    paging: &Paging,
) -> Result<Page<LetterSummary>, StoreError> {
    let failed = |error| classify(error, "could not list the dead letters");
    if let Some(consumer) = &filter.consumer {
        find(store, consumer).await?;
    }
    let (died, consumer, key) = place::letter(paging.after.as_ref())?;
    let rows = sqlx::query(include_str!("sql/letters.sql"))
        .bind(filter.consumer.as_deref())
        .bind(filter.state.map(|state| match state {
            LetterState::Dead => "dead",
            LetterState::Requeued => "requeued",
        }))
        .bind(died)
        .bind(consumer)
        .bind(key.as_bytes().as_slice())
        .bind(i64::from(paging.limit) + 1)
        .fetch_all(&store.pool)
        .await
        .map_err(failed)?;
    let letters: Result<Vec<_>, _> = rows.iter().map(letter_row).collect();
    let page = Page::cut(letters.map_err(failed)?, paging.limit, |(_, place)| place.clone());
    Ok(Page::new(page.items.into_iter().map(|(letter, _)| letter).collect(), page.next))
}

pub(super) async fn letter(
    store: &SqliteStore,
    consumer: &str,
    key: InboxKey,
) -> Result<Option<DeadLetter>, StoreError> {
    let Found { id, .. } = find(store, consumer).await?;
    letter_of(&store.pool, id, key).await
}

pub(super) async fn audit(
    store: &SqliteStore,
    filter: &AuditFilter,
    paging: &Paging,
) -> Result<Page<AuditEntry>, StoreError> {
    let failed = |error| classify(error, "could not read the audit");
    let rows = sqlx::query(include_str!("sql/audit.sql"))
        .bind(filter.consumer.as_deref())
        .bind(filter.key.map(|key| key.as_bytes().to_vec()))
        .bind(place::number(paging.after.as_ref())?)
        .bind(i64::from(paging.limit) + 1)
        .fetch_all(&store.pool)
        .await
        .map_err(failed)?;
    let entry = |row: SqliteRow| {
        let at = moment(row.try_get(1)?);
        let mut entry =
            AuditEntry::new(row.try_get(0)?, at, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
        if row.try_get::<Option<Vec<u8>>, _>(5)?.is_some() {
            entry.key = Some(key_of(&row, 5)?);
        }
        entry.detail = row.try_get(6)?;
        Ok(entry)
    };
    let entries: Result<Vec<_>, _> = rows.into_iter().map(entry).collect();
    let page = Page::cut(entries.map_err(failed)?, paging.limit, |entry: &AuditEntry| {
        place::of_number(entry.number)
    });
    Ok(page)
}

pub(super) async fn ages(store: &SqliteStore, consumer: &str) -> Result<AgeHistogram, StoreError> {
    let failed = |error| classify(error, "could not read the ages of duplicates");
    let Found { id, .. } = find(store, consumer).await?;
    let counts: Vec<(u32, i64)> = sqlx::query_as(include_str!("sql/ages.sql"))
        .bind(id.get())
        .fetch_all(&store.pool)
        .await
        .map_err(failed)?;
    Ok(AgeHistogram::new(counts.into_iter().map(|(bucket, seen)| (bucket, seen.cast_unsigned()))))
}

/// What is registered of a consumer.
pub(super) struct Found {
    pub(super) id: ConsumerId,
    /// In seconds.
    pub(super) window: i64,
    pub(super) probe: InboxKey,
}

pub(super) async fn find(store: &SqliteStore, consumer: &str) -> Result<Found, StoreError> {
    let failed = |error| classify(error, &format!("could not look the consumer {consumer:?} up"));
    let row = sqlx::query(include_str!("../sql/consumer.sql"))
        .bind(consumer)
        .fetch_optional(&store.pool)
        .await
        .map_err(failed)?
        .ok_or_else(|| StoreError::unknown_consumer(consumer))?;
    let id = ConsumerId::new(row.try_get(0).map_err(failed)?);
    let window = row.try_get(2).map_err(failed)?;
    Ok(Found { id, window, probe: key_of(&row, 1).map_err(failed)? })
}

pub(super) async fn seen_row<'c>(
    executor: impl SqliteExecutor<'c>,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<SqliteRow, sqlx::Error> {
    sqlx::query(include_str!("sql/seen.sql"))
        .bind(consumer.get())
        .bind(key.as_bytes().to_vec())
        .fetch_one(executor)
        .await
}

pub(super) fn seen(row: &SqliteRow, window: i64, now: Now) -> Result<Seen, sqlx::Error> {
    let expires_at: Option<i64> = row.try_get(0)?;
    let lease_until: Option<i64> = row.try_get(2)?;
    let lease = match lease_until.filter(|_| lease_until == expires_at) {
        None => None,
        Some(until) => {
            let (owner, token) = (row.try_get(1)?, row.try_get(3)?);
            Some(LeaseSummary::new(owner, moment(until), token, row.try_get(4)?))
        }
    };
    let letter = match row.try_get(5)? {
        None => None,
        Some(claimed_until) => Some(LetterSeen {
            claimed_until,
            requeued_at: row.try_get(6)?,
            payload: row.try_get(7)?,
        }),
    };
    Ok(Seen {
        now: now.floor(),
        window,
        expires_at,
        lease,
        letter,
        traces: lease_until.is_some() || row.try_get::<Option<i64>, _>(8)?.is_some(),
        locked: false,
    })
}

/// What is known beside the claim.
fn beside(row: &SqliteRow, explanation: &mut Explanation) -> Result<(), sqlx::Error> {
    explanation.leases = row.try_get::<Option<u32>, _>(4)?.unwrap_or(0);
    // What is only marked is part of a batch that is under way, or was.
    if let Some(started) = row.try_get::<Option<u32>, _>(8)?.filter(|started| *started > 0) {
        let attempts = Attempts::new(started, row.try_get(9)?);
        let (first_at, last_at) = (moment(row.try_get(10)?), moment(row.try_get(11)?));
        explanation.attempts =
            Some(FailedAttempts::new(attempts, first_at, last_at, row.try_get(12)?));
    }
    if row.try_get(13)? {
        let fingerprint: Option<Vec<u8>> = row.try_get(14)?;
        let fingerprint = fingerprint.and_then(|bytes| bytes.try_into().ok());
        let bytes: Option<i64> = row.try_get(15)?;
        explanation.record = Some(RecordSummary::new(
            fingerprint.map(Fingerprint::from_bytes),
            bytes.map(i64::cast_unsigned),
        ));
    }
    Ok(())
}

pub(super) async fn letter_of<'c>(
    executor: impl SqliteExecutor<'c>,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<Option<DeadLetter>, StoreError> {
    let failed = |error| classify(error, "could not read the dead letter");
    let row = sqlx::query(include_str!("sql/letter.sql"))
        .bind(consumer.get())
        .bind(key.as_bytes().to_vec())
        .fetch_optional(executor)
        .await
        .map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    let (summary, _) = letter_row(&row).map_err(failed)?;
    Ok(Some(DeadLetter::new(summary, row.try_get(11).map_err(failed)?)))
}

/// A letter, and its place in the list.
fn letter_row(row: &SqliteRow) -> Result<(LetterSummary, Cursor), sqlx::Error> {
    let consumer: String = row.try_get(0)?;
    let key = key_of(row, 2)?;
    let attempts = Attempts::new(row.try_get(3)?, row.try_get(4)?);
    let died_at: i64 = row.try_get(6)?;
    let mut letter =
        LetterSummary::new(consumer.into(), key, attempts, moment(died_at), row.try_get(9)?);
    letter.first_at = moment(row.try_get(5)?);
    letter.deaths = row.try_get(7)?;
    letter.requeued_at = row.try_get::<Option<i64>, _>(8)?.map(moment);
    letter.payload_bytes = row.try_get::<Option<i64>, _>(10)?.map(i64::cast_unsigned);
    Ok((letter, place::of_letter(-died_at, row.try_get(1)?, key)))
}
