//! Looks after the claims in the inbox.

mod ages;
mod audit;
mod explain;
mod forget;
mod list;
mod purge;
mod show;

use crate::{
    args::{ConsumeArgs, InboxVerb},
    database::Location,
    error::Failure,
    exit::Exit,
    output::Format,
};

/// Does what a verb of `inbox` says. `file` is what the config file says about consuming.
pub(crate) async fn inbox(
    verb: InboxVerb,
    file: ConsumeArgs,
    location: &Location,
    format: Format,
) -> Result<Exit, Failure> {
    match verb {
        InboxVerb::List(args) => list::list(args, file, location, format).await,
        InboxVerb::Show(args) => show::show(args, file, location, format).await,
        InboxVerb::Explain(args) => explain::explain(args, file, location, format).await,
        InboxVerb::Forget(args) => forget::forget(args, file, location, format).await,
        InboxVerb::Ages(args) => ages::ages(args, file, location, format).await,
        InboxVerb::Audit(args) => audit::audit(args, location, format).await,
        InboxVerb::Purge(args) => purge::purge(&args, location, format).await,
    }
}
