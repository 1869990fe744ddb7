use std::sync::LazyLock;

use sqlx::PgConnection;

use super::{
    super::{
        claim::{earlier, lock_id},
        error::{DUPLICATE, IN_FLIGHT, classify},
        prepared::{Begun, Prepared},
        tx::PgTx,
    },
    PgBucketStore,
};
use crate::{
    error::StoreError,
    inbox::store::{Claim, Claimed},
};

/// Claims and begins in one round trip, as the flat store does.
pub(super) async fn claim(
    store: &PgBucketStore,
    claim: Claim,
) -> Result<Claimed<PgConnection>, StoreError> {
    let values = [
        claim.consumer.to_string(),
        format!("'{}'", claim.key),
        claim.window.as_secs().to_string(),
        lock_id(claim.consumer, claim.key).to_string(),
        i32::try_from(claim.wait.as_millis()).unwrap_or(i32::MAX).to_string(),
        store.beside_flat.to_string(),
        store.pg.now().map_or_else(|| "null".to_owned(), |now| now.to_string()),
    ];
    let (held, error) = match CLAIM.execute_and("begin", &store.pg, &values).await? {
        Begun::Open(held) => return Ok(Claimed::Won(Box::new(PgTx(held)))),
        Begun::Refused(held, error) => (held, error),
    };
    drop(held);
    match error.as_database_error().and_then(|error| error.code()).as_deref() {
        Some(DUPLICATE) => Ok(Claimed::Duplicate(earlier(&error))),
        Some(IN_FLIGHT) => Ok(Claimed::InFlight),
        _ => Err(classify(error, "could not claim the message")),
    }
}

static CLAIM: LazyLock<Prepared> = LazyLock::new(|| {
    Prepared::new(
        "tower_inbox_bucket_claim",
        include_str!("sql/claim.sql"),
        &["int2", "uuid", "int4", "int8", "int4", "boolean", "float8"],
    )
});
