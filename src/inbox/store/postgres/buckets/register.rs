use super::{
    super::register::{BOTH, BUCKETS, enter, number},
    PgBucketStore,
};
use crate::{
    error::StoreError,
    inbox::{Window, store::ConsumerId},
    key::InboxKey,
};

pub(super) async fn register(
    store: &PgBucketStore,
    consumer: &str,
    window: Window,
    probe: InboxKey,
) -> Result<ConsumerId, StoreError> {
    let (id, place) = number(&store.pg, consumer, window, probe).await?;
    let wanted = if store.beside_flat { BOTH } else { BUCKETS };
    if place != wanted {
        enter(&store.pg, consumer, id, wanted).await?;
    }
    Ok(id)
}
