//! Tells events that were seen within a window from new ones.

mod check;
mod clear;
mod facts;
mod failure;
mod health;
mod settings;
mod stats;
mod store;

use crate::{args::EventsVerb, error::Failure, exit::Exit, output::Format};

/// Does what a verb of `events` says. `file` is what the config file says about events.
pub(crate) async fn events(
    verb: EventsVerb,
    file: toml::Table,
    format: Format,
) -> Result<Exit, Failure> {
    match verb {
        EventsVerb::Check(args) => check::check(*args, file, format).await,
        EventsVerb::Stats(args) => stats::stats(args, file, format).await,
        EventsVerb::Health(args) => health::health(args, file, format).await,
        EventsVerb::Clear(args) => clear::clear(args, file, format).await,
    }
}
