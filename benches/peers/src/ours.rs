use std::sync::Arc;

use sqlx::PgConnection;
use tower::{ServiceBuilder, ServiceExt, service_fn, util::BoxCloneService};
use tower_inbox::{
    BoxError, InboxLayer, Outcome,
    error::{StoreError, StoreErrorKind},
    hook::BoxFuture,
    inbox::{InFlight, PgStore, Received},
};

use crate::{
    handler::{Behaviour, TABLES},
    order::OrderPlaced,
    peer::{Peer, Place, Receiver, Told},
};

/// The inbox, in its default mode.
pub(crate) struct Ours;

impl Peer for Ours {
    fn name(&self) -> &'static str {
        "tower-inbox"
    }

    fn version(&self) -> String {
        "this one, transactional".to_owned()
    }

    fn prepare<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            let pool = place.pool(1).await?;
            sqlx::raw_sql(TABLES).execute(&pool).await?;
            PgStore::new(pool).schema().up().await?;
            Ok(())
        })
    }

    fn open<'a>(
        &'a self,
        place: &'a Place,
        behaviour: Behaviour,
    ) -> BoxFuture<'a, Result<Vec<Box<dyn Receiver>>, BoxError>> {
        Box::pin(async move {
            let store = PgStore::new(place.pool(behaviour.workers).await?);
            let layer = InboxLayer::new("orders", store);
            layer.prepare().await?;
            let handler = Arc::new(behaviour);
            let service = ServiceBuilder::new().layer(layer).service(service_fn(
                move |received: Received<OrderPlaced, PgConnection>| {
                    let behaviour = *handler;
                    async move {
                        let (order, mut tx) = received.into_parts();
                        behaviour.handle_in(&mut tx, &order).await
                    }
                },
            ));
            Ok((0..behaviour.workers)
                .map(|_| {
                    Box::new(Calling(BoxCloneService::new(service.clone()))) as Box<dyn Receiver>
                })
                .collect())
        })
    }
}

struct Calling(BoxCloneService<OrderPlaced, Outcome<()>, BoxError>);

impl Receiver for Calling {
    fn deliver(&mut self, order: OrderPlaced) -> BoxFuture<'_, Result<Told, BoxError>> {
        Box::pin(async move {
            let outcome = match self.0.ready().await {
                Ok(service) => tower::Service::call(service, order).await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(Outcome::Handled(())) => Ok(Told::Handled),
                Ok(_) => Ok(Told::Duplicate),
                Err(error) if error.is::<InFlight>() => Ok(Told::InFlight),
                Err(error) => match error.downcast_ref::<StoreError>() {
                    Some(store) if store.kind() == StoreErrorKind::Aborted => {
                        Ok(Told::Refused("an error".to_owned()))
                    }
                    _ => Err(error),
                },
            }
        })
    }
}
