use std::time::Duration;

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tower_inbox::{BoxError, hook::BoxFuture};

use crate::{
    drive::{Sample, Worker, drive},
    handler::Behaviour,
    order::OrderPlaced,
};

/// One way to see to it that a message delivered twice takes effect once.
pub(crate) trait Peer: Send + Sync {
    fn name(&self) -> &'static str;

    /// The version that was measured.
    fn version(&self) -> String;

    /// Makes its tables, those of the handler among them, in an empty database.
    fn prepare<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<(), BoxError>>;

    /// Starts it as a process would, with so many receivers of deliveries.
    fn open<'a>(
        &'a self,
        place: &'a Place,
        behaviour: Behaviour,
    ) -> BoxFuture<'a, Result<Vec<Box<dyn Receiver>>, BoxError>>;

    /// Messages per second, each worker taking the next message when it is done with one.
    fn sample<'a>(
        &'a self,
        place: &'a Place,
        workers: usize,
        slice: Duration,
    ) -> BoxFuture<'a, Result<Sample, BoxError>> {
        Box::pin(async move {
            let receivers = self.open(place, Behaviour::plain(workers)).await?;
            let workers = receivers.into_iter().map(|receiver| {
                let worker: Box<dyn Worker> = Box::new(Receiving(receiver));
                worker
            });
            Ok(drive(workers.collect(), slice).await)
        })
    }

    /// Whether a handler is part of the future that received the message, so that it ends when that
    /// is dropped.
    fn handles_in_the_call(&self) -> bool {
        true
    }

    /// Whether it runs in processes of its own, so that a handler that dies leaves ours alive.
    fn dies_alone(&self) -> bool {
        false
    }
}

/// Takes deliveries, one at a time.
pub(crate) trait Receiver: Send {
    fn deliver(&mut self, order: OrderPlaced) -> BoxFuture<'_, Result<Told, BoxError>>;
}

/// What whoever delivered a message was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// The handler ran and succeeded.
    Handled,
    /// It had run before.
    Duplicate,
    /// It is running elsewhere.
    InFlight,
    /// The message was written down, to be handled later.
    Stored,
    /// Something else; not to be acknowledged.
    Refused(String),
}

impl Told {
    /// Whether a consumer would acknowledge the message, after which it never comes again.
    pub(crate) fn acknowledges(&self) -> bool {
        matches!(self, Self::Handled | Self::Duplicate | Self::Stored)
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Handled => "handled",
            Self::Duplicate => "duplicate",
            Self::InFlight => "in flight",
            Self::Stored => "stored",
            Self::Refused(why) => why,
        })
    }
}

/// Where a peer keeps what it must not forget.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) valkey: Option<String>,
}

impl Place {
    /// As many connections as there are workers, without a question before each use.
    pub(crate) async fn pool(&self, connections: usize) -> Result<PgPool, BoxError> {
        let connections = u32::try_from(connections)?;
        let options: PgConnectOptions = self.url.parse()?;
        Ok(PgPoolOptions::new()
            .max_connections(connections)
            .min_connections(connections)
            .test_before_acquire(false)
            .connect_with(options)
            .await?)
    }
}

struct Receiving(Box<dyn Receiver>);

impl Worker for Receiving {
    fn handle(&mut self, order: OrderPlaced) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            match self.0.deliver(order).await? {
                Told::Handled => Ok(()),
                told => Err(format!("a new message was told: {told}").into()),
            }
        })
    }
}
