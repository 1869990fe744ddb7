use std::{fmt::Write as _, sync::LazyLock};

use sqlx::{PgConnection, SqlSafeStr, postgres::PgDatabaseError};

use super::{
    PgStore,
    claim::lock_id,
    error::{NONE_OF_BATCH, PART_OF_BATCH, classify},
    prepared::{Begun, Prepared},
    tx::PgTx,
};
use crate::{
    error::{StoreError, StoreErrorKind},
    hook::BoxFuture,
    inbox::store::{BatchClaim, BatchClaimed, BatchStore, ConsumerId, KeyClaimed},
    key::InboxKey,
};

#[deny(clippy::missing_trait_methods)]
impl BatchStore for PgStore {
    fn claim_batch(
        &self,
        claim: BatchClaim,
    ) -> BoxFuture<'static, Result<BatchClaimed<PgConnection>, StoreError>> {
        let store = self.clone();
        Box::pin(async move { claim_batch(&store, &CLAIM, claim, &[]).await })
    }

    fn handled(
        &self,
        consumer: ConsumerId,
        keys: Vec<InboxKey>,
    ) -> BoxFuture<'static, Result<Vec<bool>, StoreError>> {
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
/// The statement has the values of [`CLAIM`], with others of its own before the clock.
pub(super) async fn claim_batch(
    store: &PgStore,
    statement: &Prepared,
    claim: BatchClaim,
    own: &[String],
) -> Result<BatchClaimed<PgConnection>, StoreError> {
    let mut answers = vec![KeyClaimed::Won; claim.keys.len()];
    if claim.keys.is_empty() {
        return Ok(BatchClaimed::new(answers, None));
    }
    // Everybody takes the locks in one order, or two batches could wait for each other.
    let mut sorted: Vec<(usize, InboxKey)> = claim.keys.iter().copied().enumerate().collect();
    sorted.sort_unstable_by_key(|(_, key)| *key);
    let values = values(store, &claim, &sorted, own);
    let begun = statement.execute_and(BEGIN, store, &values).await?;
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
    let Some((duplicates, in_flight)) = word else {
        let context = "could not claim the batch: the answer makes no sense";
        return Err(StoreError::new(StoreErrorKind::Other, context).with_source(error));
    };
    for (places, answer) in [(duplicates, KeyClaimed::Duplicate), (in_flight, KeyClaimed::InFlight)]
    {
        for place in places {
            // Places count from one, in the order that was sent.
            if let Some((asked, _)) = sorted.get(place.wrapping_sub(1)) {
                answers[*asked] = answer;
            }
        }
    }
    Ok(BatchClaimed::new(answers, part.then(|| Box::new(PgTx(held)) as _)))
}

async fn handled(
    store: &PgStore,
    consumer: ConsumerId,
    keys: &[InboxKey],
) -> Result<Vec<bool>, StoreError> {
    sqlx::query_scalar(include_str!("sql/handled.sql"))
        .persistent(store.prepared)
        .bind(consumer.get())
        .bind(keys.iter().copied().map(uuid::Uuid::from).collect::<Vec<_>>())
        .bind(store.now())
        .fetch_one(&store.pool)
        .await
        .map_err(|error| classify(error, "could not look the batch up"))
}

fn values(
    store: &PgStore,
    claim: &BatchClaim,
    sorted: &[(usize, InboxKey)],
    own: &[String],
) -> Vec<String> {
    let mut keys = String::with_capacity(sorted.len() * 37 + 4);
    let mut locks = String::with_capacity(sorted.len() * 21 + 4);
    for (place, (_, key)) in sorted.iter().enumerate() {
        let comma = if place == 0 { "'{" } else { "," };
        let lock = lock_id(claim.consumer, *key);
        write!(keys, "{comma}{key}").expect("a string can be written to");
        write!(locks, "{comma}{lock}").expect("a string can be written to");
    }
    keys.push_str("}'");
    locks.push_str("}'");
    let mut values = vec![
        claim.consumer.to_string(),
        keys,
        locks,
        claim.window.as_secs().to_string(),
        i32::try_from(claim.wait.as_millis()).unwrap_or(i32::MAX).to_string(),
    ];
    values.extend_from_slice(own);
    values.push(store.now().map_or_else(|| "null".to_owned(), |now| now.to_string()));
    values
}

/// The places of duplicates and of messages in flight, as `contend_batch` gives word of them:
/// `{2,5}{7}`.
fn parse(word: &str) -> Option<(Vec<usize>, Vec<usize>)> {
    let (duplicates, in_flight) = word.strip_prefix('{')?.strip_suffix('}')?.split_once("}{")?;
    let places = |list: &str| -> Option<Vec<usize>> {
        list.split(',').filter(|place| !place.is_empty()).map(|place| place.parse().ok()).collect()
    };
    Some((places(duplicates)?, places(in_flight)?))
}

static CLAIM: LazyLock<Prepared> = LazyLock::new(|| {
    Prepared::new(
        "tower_inbox_claim_batch",
        include_str!("sql/claim_batch.sql"),
        &["int2", "uuid[]", "int8[]", "int4", "int4", "float8"],
    )
});

const BEGIN: &str =
    "begin;savepoint tower_inbox;select tower_inbox.tell_batch();release savepoint tower_inbox";
const KEEP: &str = "rollback to savepoint tower_inbox;release savepoint tower_inbox";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_a_batch_is_read() {
        assert_eq!(parse("{2,5}{7}"), Some((vec![2, 5], vec![7])));
        assert_eq!(parse("{}{7}"), Some((vec![], vec![7])));
        assert_eq!(parse("{1}{}"), Some((vec![1], vec![])));
        for nonsense in ["", "{}", "{1}{2}{3}", "{a}{}", "{1}{-2}"] {
            assert_eq!(parse(nonsense), None, "{nonsense}");
        }
    }
}
