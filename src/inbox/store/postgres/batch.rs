use std::time::Duration;

use sqlx::{PgConnection, Row, SqlSafeStr, postgres::PgDatabaseError};

use super::{
    PgStore,
    claim::lock_id,
    error::{NONE_OF_BATCH, PART_OF_BATCH, classify},
    statement::Begun,
    tx::PgTx,
};
use crate::{
    error::{StoreError, StoreErrorKind},
    hook::BoxFuture,
    inbox::store::{BatchClaim, BatchClaimed, BatchStore, ConsumerId, Earlier, KeyClaimed},
    key::InboxKey,
    sql::{Statement, Value},
};

#[deny(clippy::missing_trait_methods)]
impl BatchStore for PgStore {
    fn claim_batch(
        &self,
        claim: BatchClaim,
    ) -> BoxFuture<'static, Result<BatchClaimed<PgConnection>, StoreError>> {
        let store = self.clone();
        Box::pin(async move {
            claim_batch(&store, include_str!("sql/claim_batch.sql"), claim, None).await
        })
    }

    fn handled(
        &self,
        consumer: ConsumerId,
        keys: Vec<InboxKey>,
    ) -> BoxFuture<'static, Result<Vec<Option<Earlier>>, StoreError>> {
        let store = self.clone();
        Box::pin(async move { handled(&store, consumer, &keys).await })
    }
}

/// Claims and begins in one round trip if all messages are won, or none is, and in two otherwise.
///
/// As for a single claim, the `begin` comes after the statement that claims, so that nothing is left
/// open when that fails. sqlx drops the rows of a statement that begins; what is not won comes as an
/// error, raised after a savepoint if there is something to keep. Going back to the savepoint keeps
/// it, and lets sqlx know of the transaction.
///
/// The statement takes a value more where `beside_flat` has one.
pub(super) async fn claim_batch(
    store: &PgStore,
    text: &'static str,
    claim: BatchClaim,
    beside_flat: Option<bool>,
) -> Result<BatchClaimed<PgConnection>, StoreError> {
    let mut answers = vec![KeyClaimed::Won; claim.keys.len()];
    if claim.keys.is_empty() {
        return Ok(BatchClaimed::new(answers, None));
    }
    // Everybody takes the locks in one order, or two batches could wait for each other.
    let mut sorted: Vec<(usize, InboxKey)> = claim.keys.iter().copied().enumerate().collect();
    sorted.sort_unstable_by_key(|(_, key)| *key);
    let keys: Vec<InboxKey> = sorted.iter().map(|(_, key)| *key).collect();
    let lock_ids: Vec<i64> = keys.iter().map(|key| lock_id(claim.consumer, *key)).collect();
    let statement = Statement::new(text)
        .value(claim.consumer.get())
        .value(&*keys)
        .value(&*lock_ids)
        .value(claim.window.as_secs().cast_signed())
        .value(i32::try_from(claim.wait.as_millis()).unwrap_or(i32::MAX));
    let statement = match beside_flat {
        None => statement,
        Some(beside_flat) => statement.value(beside_flat),
    };
    let begun = statement.value(store.now()).then(BEGIN, store).await?;
    let (mut held, error) = match begun {
        Begun::Open(held) => return Ok(BatchClaimed::new(answers, Some(Box::new(PgTx(held))))),
        Begun::Refused(held, error) => (held, error),
    };
    let part = match error.as_database_error().and_then(|error| error.code()).as_deref() {
        Some(PART_OF_BATCH) => true,
        Some(NONE_OF_BATCH) => false,
        _ => {
            // Whether the `begin` had run when it failed is not known.
            held.discard();
            return Err(classify(error, "could not claim the batch"));
        }
    };
    if part {
        // Nothing is awaited between the error and this, so nobody can drop an open transaction here.
        if let Err(error) = held.begin(KEEP.into_sql_str()).await {
            held.discard();
            return Err(classify(error, "could not claim the batch"));
        }
    }
    let word = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
        .and_then(PgDatabaseError::detail)
        .and_then(parse);
    let Some(word) = word else {
        let context = "could not claim the batch: the answer makes no sense";
        return Err(StoreError::new(StoreErrorKind::Other, context).with_source(error));
    };
    for (place, answer) in word {
        // Places count from one, in the order that was sent.
        if let Some((asked, _)) = sorted.get(place.wrapping_sub(1)) {
            answers[*asked] = answer;
        }
    }
    Ok(BatchClaimed::new(answers, part.then(|| Box::new(PgTx(held)) as _)))
}

/// Looks for committed claims. One key has a statement of its own: without the lists it costs half.
async fn handled(
    store: &PgStore,
    consumer: ConsumerId,
    keys: &[InboxKey],
) -> Result<Vec<Option<Earlier>>, StoreError> {
    let look = |text, keys: Value| {
        let statement = Statement::new(text).fixed(consumer.get()).value(keys);
        match store.now() {
            None => statement.fixed(None::<f64>),
            now => statement.value(now),
        }
    };
    let ages: Result<Vec<Option<i64>>, _> = if let [key] = keys {
        let statement = look(include_str!("sql/handled_one.sql"), (*key).into());
        statement.fetch_often(store).await.and_then(|row| row.try_get(0)).map(|age| vec![age])
    } else {
        let statement = look(include_str!("sql/handled.sql"), keys.into());
        statement.fetch_often(store).await.and_then(|row| row.try_get(0))
    };
    ages.map(|ages| ages.into_iter().map(|age| age.map(earlier)).collect())
        .map_err(|error| classify(error, "could not look for handled messages"))
}

/// The answers that `contend_batch` gives word of: the places of duplicates, their ages, and the places
/// of messages in flight, as `{2,5}{60,NULL}{7}`.
fn parse(word: &str) -> Option<Vec<(usize, KeyClaimed)>> {
    let mut lists = word
        .strip_prefix('{')?
        .strip_suffix('}')?
        .split("}{")
        .map(|list| list.split(',').filter(|element| !element.is_empty()).collect::<Vec<_>>());
    let (duplicates, ages, in_flight) = (lists.next()?, lists.next()?, lists.next()?);
    if lists.next().is_some() || duplicates.len() != ages.len() {
        return None;
    }
    let duplicates = duplicates.iter().zip(ages).map(|(place, age)| {
        let earlier = if age == "NULL" { Earlier::unknown() } else { earlier(age.parse().ok()?) };
        Some((place.parse().ok()?, KeyClaimed::Duplicate(earlier)))
    });
    let in_flight = in_flight.iter().map(|place| Some((place.parse().ok()?, KeyClaimed::InFlight)));
    duplicates.chain(in_flight).collect()
}

/// Below zero the age is not known.
pub(super) fn earlier(age: i64) -> Earlier {
    u64::try_from(age)
        .map_or_else(|_| Earlier::unknown(), |age| Earlier::ago(Duration::from_secs(age)))
}

const BEGIN: &str =
    "begin;savepoint tower_inbox;select tower_inbox.tell_batch();release savepoint tower_inbox";
const KEEP: &str = "rollback to savepoint tower_inbox;release savepoint tower_inbox";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_a_batch_is_read() {
        let ago = |seconds| KeyClaimed::Duplicate(Earlier::ago(Duration::from_secs(seconds)));
        let unknown = KeyClaimed::Duplicate(Earlier::unknown());
        let in_flight = KeyClaimed::InFlight;
        let word = vec![(2, ago(60)), (5, unknown), (7, in_flight)];
        assert_eq!(parse("{2,5}{60,NULL}{7}"), Some(word));
        assert_eq!(parse("{}{}{7}"), Some(vec![(7, in_flight)]));
        assert_eq!(parse("{1}{0}{}"), Some(vec![(1, ago(0))]));
        for nonsense in ["", "{}", "{1}{}{}", "{1}{2}{3}{4}", "{a}{1}{}", "{}{}{-2}"] {
            assert_eq!(parse(nonsense), None, "{nonsense}");
        }
    }
}
