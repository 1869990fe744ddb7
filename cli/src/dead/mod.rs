//! Looks after the messages that failed too often.

mod chosen;
mod discard;
mod list;
mod requeue;
mod show;

use crate::{
    args::{ConsumeArgs, DeadVerb},
    database::Location,
    error::Failure,
    exit::Exit,
    output::Format,
};

/// Does what a verb of `dead` says. `file` is what the config file says about consuming.
pub(crate) async fn dead(
    verb: DeadVerb,
    file: ConsumeArgs,
    location: &Location,
    format: Format,
) -> Result<Exit, Failure> {
    match verb {
        DeadVerb::List(args) => list::list(args, location, format).await,
        DeadVerb::Show(args) => show::show(args, file, location, format).await,
        DeadVerb::Requeue(args) => requeue::requeue(args, file, location, format).await,
        DeadVerb::Discard(args) => discard::discard(args, file, location, format).await,
    }
}
