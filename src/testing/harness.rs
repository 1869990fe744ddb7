use std::time::Duration;

use crate::{
    error::BoxError,
    hook::BoxFuture,
    inbox::store::{InboxStore, SweepStore},
    testing::Clock,
};

/// What the conformance suite needs around a store.
///
/// One harness is one empty, migrated database with a table of its own to which handlers write.
pub trait Harness: Send + Sync + 'static {
    /// The store.
    type Store: InboxStore<Connection = Self::Connection> + SweepStore + Clone + 'static;
    /// Its connection.
    type Connection: Send + 'static;

    /// The store, on the harness's clock.
    fn store(&self) -> Self::Store;

    /// The clock that the store goes by.
    fn clock(&self) -> &Clock;

    /// Writes one effect through a handler's connection.
    fn write<'a>(
        connection: &'a mut Self::Connection,
        effect: &'a str,
    ) -> BoxFuture<'a, Result<(), BoxError>>;

    /// Counts the committed effects of a name.
    fn written<'a>(&'a self, effect: &'a str) -> BoxFuture<'a, i64>;

    /// How long after its end a claim may be swept. Zero unless the store removes many together.
    fn sweeps_late(&self) -> Duration {
        Duration::ZERO
    }
}
