use serde::Serialize;
use tower_inbox::inbox::store::{Discarded, InboxAdmin, Intervention};

use super::chosen::Chosen;
use crate::{
    args::{ConsumeArgs, DiscardArgs},
    database::{Backend, Location, Use, with_store},
    error::Failure,
    exit::Exit,
    output::{self, Format},
    subject::actor,
};

/// Deletes dead letters. Their claims stay, so redeliveries are still dropped.
pub(super) async fn discard(
    args: DiscardArgs,
    file: ConsumeArgs,
    location: &Location,
    format: Format,
) -> Result<Exit, Failure> {
    let DiscardArgs { chosen, yes, deed } = args;
    let chosen = Chosen::new(chosen, &file)?;
    if chosen.are_all() && !yes && !deed.dry_run {
        return Err(Failure::usage("--all would delete the messages of all dead letters")
            .advice("look at them with `tower-inbox dead list`, then add --yes"));
    }
    let actor = actor(deed.actor);
    let database = location.open(Use { create: false, connections: 2 }).await?;
    let (report, stopped) = with_store!(database, store => {
        let mut report = Report { dry_run: deed.dry_run, ..Report::default() };
        let went = async {
            store.check().await?;
            for key in chosen.keys(&store, None).await? {
                let intervention = Intervention::new(chosen.consumer.clone(), key, actor.clone())
                    .dry_run(deed.dry_run);
                match store.discard(intervention).await? {
                    Discarded::Done(_) => report.discarded.push(key.to_string()),
                    _ => report.not_there.push(key.to_string()),
                }
            }
            Ok::<_, Failure>(())
        }
        .await;
        store.close().await;
        (report, went.err())
    });
    output::print(&format.render(&report, Report::text))?;
    if let Some(failure) = stopped {
        return Err(failure);
    }
    if !report.not_there.is_empty() && !chosen.are_all() {
        return Err(Failure::stopped(format!(
            "there are no dead letters {}",
            report.not_there.join(", ")
        ))
        .advice("`tower-inbox dead list` shows the ones there are"));
    }
    Ok(Exit::Done)
}

#[derive(Default, Serialize)]
struct Report {
    discarded: Vec<String>,
    not_there: Vec<String>,
    dry_run: bool,
}

impl Report {
    fn text(&self) -> String {
        let would = if self.dry_run { "would be discarded" } else { "discarded" };
        format!("{} letters {would}\n", self.discarded.len())
    }
}
