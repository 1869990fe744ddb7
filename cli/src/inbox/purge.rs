use serde::Serialize;
use tower_inbox::inbox::store::InboxAdmin;

use crate::{
    args::PurgeArgs,
    database::{Backend, Location, Use, with_store},
    error::Failure,
    exit::Exit,
    output::{self, Format},
};

/// Removes the claims whose window is over.
pub(super) async fn purge(
    args: &PurgeArgs,
    location: &Location,
    format: Format,
) -> Result<Exit, Failure> {
    let database = location.open(Use { create: false, connections: 2 }).await?;
    let report = with_store!(database, store => {
        let purged = sweep(&store, args.dry_run).await;
        store.close().await;
        purged?
    });
    output::print(&format.render(&report, Report::text))?;
    Ok(Exit::Done)
}

async fn sweep<B: Backend + InboxAdmin>(store: &B, dry_run: bool) -> Result<Report, Failure> {
    store.check().await?;
    let expired = store.consumers().await?.iter().map(|consumer| consumer.expired).sum();
    let removed = if dry_run { 0 } else { store.sweeper().sweep().await? };
    Ok(Report { expired, removed, dry_run })
}

#[derive(Serialize)]
struct Report {
    /// Found before the sweep.
    expired: u64,
    removed: u64,
    dry_run: bool,
}

impl Report {
    fn text(&self) -> String {
        if self.dry_run {
            format!("{} expired claims would be removed\n", self.expired)
        } else {
            format!("{} expired claims removed\n", self.removed)
        }
    }
}
