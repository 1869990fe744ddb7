use sqlx::PgConnection;

use super::{
    super::{
        claim::{earlier, lock_id},
        error::{DUPLICATE, IN_FLIGHT, classify},
        statement::{Begun, Statement},
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
    let begun = Statement::new(include_str!("sql/claim.sql"))
        .value(claim.consumer.get())
        .value(claim.key)
        .value(claim.window.as_secs().cast_signed())
        .value(lock_id(claim.consumer, claim.key))
        .value(i32::try_from(claim.wait.as_millis()).unwrap_or(i32::MAX))
        .value(store.beside_flat)
        .value(store.pg.now())
        .then("begin", &store.pg)
        .await?;
    let (held, error) = match begun {
        Begun::Open(held) => return Ok(Claimed::Won(Box::new(PgTx(held)))),
        Begun::Refused(held, error) => (held, error),
    };
    match error.as_database_error().and_then(|error| error.code()).as_deref() {
        Some(DUPLICATE) => {
            held.done();
            Ok(Claimed::Duplicate(earlier(&error)))
        }
        Some(IN_FLIGHT) => {
            held.done();
            Ok(Claimed::InFlight)
        }
        _ => Err(classify(error, "could not claim the message")),
    }
}
