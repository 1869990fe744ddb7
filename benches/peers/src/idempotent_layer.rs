use std::time::Duration;

use axum::Router;
use idempotent::{
    IdempotencyStore, memory::MemoryStore, middleware::IdempotencyLayer, valkey::ValkeyStore,
};
use tower_inbox::{BoxError, hook::BoxFuture};

use crate::{
    handler::{Behaviour, TABLES},
    http::{Posting, routes},
    peer::{Peer, Place, Receiver},
    support::locked,
};

/// The layer of `idempotent`, with its store for one process.
pub(crate) struct InMemory;

/// The same with its store for many processes.
pub(crate) struct InValkey;

impl Peer for InMemory {
    fn name(&self) -> &'static str {
        "`idempotent`, in memory"
    }

    fn version(&self) -> String {
        format!("idempotent {}, `IdempotencyLayer`, `MemoryStore`", locked("idempotent"))
    }

    fn prepare<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(prepare(place))
    }

    fn open<'a>(
        &'a self,
        place: &'a Place,
        behaviour: Behaviour,
    ) -> BoxFuture<'a, Result<Vec<Box<dyn Receiver>>, BoxError>> {
        Box::pin(async move { open(MemoryStore::builder().try_build()?, place, behaviour).await })
    }

    fn handles_in_the_call(&self) -> bool {
        false
    }
}

impl Peer for InValkey {
    fn name(&self) -> &'static str {
        "`idempotent`, in Valkey"
    }

    fn version(&self) -> String {
        format!(
            "idempotent {}, `IdempotencyLayer`, `ValkeyStore`, `appendfsync always`",
            locked("idempotent")
        )
    }

    fn prepare<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(prepare(place))
    }

    fn open<'a>(
        &'a self,
        place: &'a Place,
        behaviour: Behaviour,
    ) -> BoxFuture<'a, Result<Vec<Box<dyn Receiver>>, BoxError>> {
        Box::pin(async move {
            let url = place.valkey.clone().ok_or("no Valkey server runs")?;
            let name = place.url.split(['/', '?']).nth(3).unwrap_or_default().to_owned();
            let store = ValkeyStore::with_url(url).prefix(name).try_build().await?;
            open(store, place, behaviour).await
        })
    }

    fn handles_in_the_call(&self) -> bool {
        false
    }
}

async fn prepare(place: &Place) -> Result<(), BoxError> {
    sqlx::raw_sql(TABLES).execute(&place.pool(1).await?).await?;
    Ok(())
}

async fn open<S: IdempotencyStore + Clone>(
    store: S,
    place: &Place,
    behaviour: Behaviour,
) -> Result<Vec<Box<dyn Receiver>>, BoxError> {
    let mut layer = IdempotencyLayer::new(store);
    if behaviour.counts {
        // Defaults to a minute; whoever looks for faults does not wait so long.
        layer = layer.processing_ttl(Duration::from_secs(2));
    }
    let router: Router = routes(place.pool(behaviour.workers).await?, behaviour).layer(layer);
    Ok((0..behaviour.workers)
        .map(|_| Box::new(Posting { router: router.clone(), session: None }) as Box<dyn Receiver>)
        .collect())
}
