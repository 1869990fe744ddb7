use std::{sync::Arc, time::Duration};

use sqlx::{Row, postgres::PgRow, types::Uuid};

use super::super::{PgStore, claim::lock_id, error::classify, statement::Statement};
use crate::{
    error::{StoreError, StoreErrorKind},
    inbox::store::{
        AgeHistogram, Attempts, AuditEntry, AuditFilter, ClaimFilter, ClaimState, ClaimSummary,
        ConsumerId, ConsumerSummary, Cursor, DeadLetter, Explanation, FailedAttempts, LeaseSummary,
        LetterFilter, LetterState, LetterSummary, Page, Paging, RecordSummary,
        admin::{LetterSeen, Seen, handled_at, moment, place},
    },
    key::{Fingerprint, InboxKey},
};

pub(super) async fn consumers(store: &PgStore) -> Result<Vec<ConsumerSummary>, StoreError> {
    let consumer = |row: PgRow| {
        let window: i64 = row.try_get(1)?;
        let window = Duration::from_secs(window.cast_unsigned());
        let key_probe: Uuid = row.try_get(2)?;
        let count = |column: usize| row.try_get(column).map(i64::cast_unsigned);
        let name: String = row.try_get(0)?;
        let mut consumer = ConsumerSummary::new(name, window, key_probe.into());
        consumer.live = count(3)?;
        consumer.in_flight = count(4)?;
        consumer.expired = count(5)?;
        consumer.dead_letters = count(6)?;
        consumer.requeued = count(7)?;
        Ok(consumer)
    };
    Statement::new(include_str!("sql/consumers.sql"))
        .value(store.now())
        .fetch_all(&store.pool)
        .await
        .and_then(|rows| rows.into_iter().map(consumer).collect())
        .map_err(|error| classify(error, "could not read the consumers"))
}

pub(super) async fn claims(
    store: &PgStore,
    filter: &ClaimFilter,
    paging: &Paging,
) -> Result<Page<ClaimSummary>, StoreError> {
    let failed = |error| classify(error, "could not list the claims");
    let Found { id: consumer, window, .. } =
        find(store, &filter.consumer).await?.in_flat(&filter.consumer, false)?;
    let after = paging.after.as_ref().map(place::key).transpose()?;
    let rows = Statement::new(include_str!("sql/claims.sql"))
        .value(consumer.get())
        .value(after)
        .value(filter.state.map(ClaimState::as_str))
        .value(i64::from(paging.limit) + 1)
        .value(store.now())
        .fetch_all(&store.pool)
        .await
        .map_err(failed)?;
    let claim = |row: PgRow| {
        let key: Uuid = row.try_get(0)?;
        let state: String = row.try_get(2)?;
        let state = state.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        let mut claim = ClaimSummary::new(key.into(), state);
        let until: Option<i64> = row.try_get(1)?;
        let now: i64 = row.try_get(4)?;
        claim.until = until.map(moment);
        if matches!(state, ClaimState::Handled | ClaimState::Dead) {
            claim.handled_at = until.and_then(|until| handled_at(until, window, now));
        }
        let attempts: i32 = row.try_get(3)?;
        claim.attempts = attempts.cast_unsigned();
        Ok(claim)
    };
    let claims: Result<Vec<_>, _> = rows.into_iter().map(claim).collect();
    Ok(Page::cut(claims.map_err(failed)?, paging.limit, |claim| place::of_key(claim.key)))
}

pub(super) async fn explain(
    store: &PgStore,
    consumer: Arc<str>,
    key: InboxKey,
) -> Result<Explanation, StoreError> {
    let failed = |error| classify(error, "could not explain the message");
    let Found { id, window, probe, .. } =
        find(store, &consumer).await?.in_flat(&consumer, false)?;
    let row = seen_query(store, id, key).fetch_one(&store.pool).await.map_err(failed)?;
    let state = seen(&row, window).map_err(failed)?.state();
    let window = Duration::from_secs(window.cast_unsigned());
    let mut explanation = Explanation::new(Arc::clone(&consumer), key, window, probe, state);
    beside(&row, &mut explanation).map_err(failed)?;
    explanation.letter = letter_of(store, id, key).await?.map(|letter| letter.summary);
    let filter = AuditFilter::default().consumer(consumer).key(key);
    explanation.audit = audit(store, &filter, &Paging::first(20)).await?.items;
    Ok(explanation)
}

pub(super) async fn letters(
    store: &PgStore,
    filter: &LetterFilter,
    paging: &Paging,
) -> Result<Page<LetterSummary>, StoreError> {
    let failed = |error| classify(error, "could not list the dead letters");
    if let Some(consumer) = &filter.consumer {
        find(store, consumer).await?;
    }
    let (died, consumer, key) = place::letter(paging.after.as_ref())?;
    let rows = Statement::new(include_str!("sql/letters.sql"))
        .value(filter.consumer.as_deref())
        .value(filter.state.map(|state| match state {
            LetterState::Dead => "dead",
            LetterState::Requeued => "requeued",
        }))
        .value(died)
        .value(consumer)
        .value(key)
        .value(i64::from(paging.limit) + 1)
        .fetch_all(&store.pool)
        .await
        .map_err(failed)?;
    let letters: Result<Vec<_>, _> = rows.iter().map(letter_row).collect();
    let page = Page::cut(letters.map_err(failed)?, paging.limit, |(_, place)| place.clone());
    Ok(Page::new(page.items.into_iter().map(|(letter, _)| letter).collect(), page.next))
}

pub(super) async fn letter(
    store: &PgStore,
    consumer: &str,
    key: InboxKey,
) -> Result<Option<DeadLetter>, StoreError> {
    let Found { id, .. } = find(store, consumer).await?;
    letter_of(store, id, key).await
}

pub(super) async fn audit(
    store: &PgStore,
    filter: &AuditFilter,
    paging: &Paging,
) -> Result<Page<AuditEntry>, StoreError> {
    let failed = |error| classify(error, "could not read the audit");
    let before = place::number(paging.after.as_ref())?;
    let rows = Statement::new(include_str!("sql/audit.sql"))
        .value(filter.consumer.as_deref())
        .value(filter.key)
        .value(before)
        .value(i64::from(paging.limit) + 1)
        .fetch_all(&store.pool)
        .await
        .map_err(failed)?;
    let entry = |row: PgRow| {
        let at = moment(row.try_get(1)?);
        let mut entry =
            AuditEntry::new(row.try_get(0)?, at, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
        entry.key = row.try_get::<Option<Uuid>, _>(5)?.map(InboxKey::from);
        entry.detail = row.try_get(6)?;
        Ok(entry)
    };
    let entries: Result<Vec<_>, _> = rows.into_iter().map(entry).collect();
    let page = Page::cut(entries.map_err(failed)?, paging.limit, |entry: &AuditEntry| {
        place::of_number(entry.number)
    });
    Ok(page)
}

pub(super) async fn ages(store: &PgStore, consumer: &str) -> Result<AgeHistogram, StoreError> {
    let failed = |error| classify(error, "could not read the ages of duplicates");
    let Found { id, .. } = find(store, consumer).await?;
    let rows = Statement::new(include_str!("sql/ages.sql"))
        .value(id.get())
        .fetch_all(&store.pool)
        .await
        .map_err(failed)?;
    let count = |row: PgRow| {
        let (bucket, seen): (i16, i64) = (row.try_get(0)?, row.try_get(1)?);
        Ok((u32::try_from(bucket).unwrap_or(0), seen.cast_unsigned()))
    };
    let counts: Result<Vec<_>, _> = rows.into_iter().map(count).collect();
    Ok(AgeHistogram::new(counts.map_err(failed)?))
}

/// What is registered of a consumer.
pub(super) struct Found {
    pub(super) id: ConsumerId,
    /// In seconds.
    pub(super) window: i64,
    pub(super) probe: InboxKey,
    store: String,
}

impl Found {
    /// Refuses a consumer whose claims are elsewhere, where they would read as if there were none.
    pub(super) fn in_flat(self, consumer: &str, only: bool) -> Result<Self, StoreError> {
        match &*self.store {
            "flat" => Ok(self),
            // Also in the flat table, for those who only look.
            "both" if !only => Ok(self),
            _ => Err(StoreError::new(
                StoreErrorKind::Other,
                format!(
                    "the claims of the consumer {consumer:?} are in buckets, where nobody can look \
                     or forget by hand yet; the view tower_inbox.bucket shows them"
                ),
            )),
        }
    }
}

pub(super) async fn find(store: &PgStore, consumer: &str) -> Result<Found, StoreError> {
    let failed = |error| classify(error, &format!("could not look the consumer {consumer:?} up"));
    let row = Statement::new(include_str!("../sql/consumer.sql"))
        .value(consumer)
        .fetch_optional(&store.pool)
        .await
        .map_err(failed)?
        .ok_or_else(|| StoreError::unknown_consumer(consumer))?;
    let probe: Uuid = row.try_get(1).map_err(failed)?;
    let window: i32 = row.try_get(2).map_err(failed)?;
    let id = ConsumerId::new(row.try_get(0).map_err(failed)?);
    let store = row.try_get(3).map_err(failed)?;
    Ok(Found { id, window: window.into(), probe: probe.into(), store })
}

pub(super) fn seen_query(store: &PgStore, consumer: ConsumerId, key: InboxKey) -> Statement {
    Statement::new(include_str!("sql/seen.sql"))
        .value(consumer.get())
        .value(key)
        .value(lock_id(consumer, key))
        .value(store.now())
}

pub(super) fn seen(row: &PgRow, window: i64) -> Result<Seen, sqlx::Error> {
    let expires_at: Option<i64> = row.try_get(1)?;
    let lease_until: Option<i64> = row.try_get(3)?;
    let lease = match lease_until.filter(|_| lease_until == expires_at) {
        None => None,
        Some(until) => {
            let attempt: i32 = row.try_get(5)?;
            let (owner, token) = (row.try_get(2)?, row.try_get(4)?);
            Some(LeaseSummary::new(owner, moment(until), token, attempt.cast_unsigned()))
        }
    };
    let letter = match row.try_get::<Option<i64>, _>(6)? {
        None => None,
        Some(claimed_until) => Some(LetterSeen {
            claimed_until,
            requeued_at: row.try_get(7)?,
            payload: row.try_get(8)?,
        }),
    };
    Ok(Seen {
        now: row.try_get(0)?,
        window,
        expires_at,
        lease,
        letter,
        traces: lease_until.is_some() || row.try_get::<Option<i32>, _>(9)?.is_some(),
        locked: row.try_get(17)?,
    })
}

/// What is known beside the claim.
fn beside(row: &PgRow, explanation: &mut Explanation) -> Result<(), sqlx::Error> {
    let leases: Option<i32> = row.try_get(5)?;
    explanation.leases = leases.map_or(0, i32::cast_unsigned);
    // What is only marked is part of a batch that is under way, or was.
    if let Some(started) = row.try_get::<Option<i32>, _>(9)?.filter(|started| *started > 0) {
        let finished: i32 = row.try_get(10)?;
        let attempts = Attempts::new(started.cast_unsigned(), finished.cast_unsigned());
        let (first_at, last_at) = (moment(row.try_get(11)?), moment(row.try_get(12)?));
        explanation.attempts =
            Some(FailedAttempts::new(attempts, first_at, last_at, row.try_get(13)?));
    }
    if row.try_get(14)? {
        let fingerprint: Option<Uuid> = row.try_get(15)?;
        let fingerprint = fingerprint.map(|uuid| Fingerprint::from_bytes(uuid.into_bytes()));
        let bytes: Option<i64> = row.try_get(16)?;
        explanation.record = Some(RecordSummary::new(fingerprint, bytes.map(i64::cast_unsigned)));
    }
    Ok(())
}

async fn letter_of(
    store: &PgStore,
    consumer: ConsumerId,
    key: InboxKey,
) -> Result<Option<DeadLetter>, StoreError> {
    let failed = |error| classify(error, "could not read the dead letter");
    let row = letter_query(consumer, key).fetch_optional(&store.pool).await.map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    let (summary, _) = letter_row(&row).map_err(failed)?;
    Ok(Some(DeadLetter::new(summary, row.try_get(11).map_err(failed)?)))
}

pub(super) fn letter_query(consumer: ConsumerId, key: InboxKey) -> Statement {
    Statement::new(include_str!("sql/letter.sql")).value(consumer.get()).value(key)
}

/// A letter, and its place in the list.
pub(super) fn letter_row(row: &PgRow) -> Result<(LetterSummary, Cursor), sqlx::Error> {
    let consumer: String = row.try_get(0)?;
    let key: Uuid = row.try_get(2)?;
    let key = InboxKey::from(key);
    let (started, finished): (i32, i32) = (row.try_get(3)?, row.try_get(4)?);
    let attempts = Attempts::new(started.cast_unsigned(), finished.cast_unsigned());
    let died_at: i64 = row.try_get(6)?;
    let mut letter =
        LetterSummary::new(consumer.into(), key, attempts, moment(died_at), row.try_get(9)?);
    letter.first_at = moment(row.try_get(5)?);
    letter.deaths = row.try_get(7).map(i32::cast_unsigned)?;
    letter.requeued_at = row.try_get::<Option<i64>, _>(8)?.map(moment);
    letter.payload_bytes = row.try_get::<Option<i64>, _>(10)?.map(i64::cast_unsigned);
    Ok((letter, place::of_letter(-died_at, row.try_get(1)?, key)))
}
