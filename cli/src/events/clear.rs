use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
};

use serde::Serialize;
use serde_json::Value;

use super::{facts, stats::FORGETS, store::Store};
use crate::{
    args::ClearArgs,
    error::Failure,
    exit::Exit,
    output::{self, Format},
};

/// Forgets all events of a namespace, after somebody has said yes.
pub(super) async fn clear(
    args: ClearArgs,
    file: toml::Table,
    format: Format,
) -> Result<Exit, Failure> {
    let ClearArgs { store, yes, dry_run } = args;
    let store = Store::to_look_at(store, file)?;
    let asked = yes || dry_run;
    if !asked && !io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "clearing forgets all events of the namespace {} in {}, and they would be new again",
            store.config.namespace(),
            store.shown
        ))
        .advice("look with --dry-run, then add --yes"));
    }
    let events = store.look_at().await.map_err(|error| store.failure(error))?;
    let health = events.health_check().await.map_err(|error| store.failure(error))?;
    let mut report = Report {
        store: store.shown.clone(),
        namespace: store.config.namespace().to_owned(),
        cleared: false,
        dry_run,
        facts: facts::values(&health.facts),
    };
    if !asked && !confirmed(&report)? {
        output::note("nothing was done");
        return Ok(Exit::Stopped);
    }
    if !dry_run {
        events.clear().await.map_err(|error| {
            store
                .failure(error)
                .advice("a part may be forgotten already: run the same command again")
        })?;
        report.cleared = true;
    }
    output::print(&format.render(&report, Report::text))?;
    if store.is_memory() {
        output::note(FORGETS);
    }
    Ok(Exit::Done)
}

fn confirmed(report: &Report) -> Result<bool, Failure> {
    let Report { store, namespace, facts, .. } = report;
    let mut stderr = io::stderr();
    write!(
        stderr,
        "{}The events of the namespace {namespace} in {store} will be forgotten, and be new again.\n\
         Go on? [y/N] ",
        facts::lines(facts)
    )
    .and_then(|()| stderr.flush())
    .map_err(|error| Failure::stopped("could not ask").because(error))?;
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(|error| Failure::stopped("could not read the answer").because(error))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

#[derive(Serialize)]
struct Report {
    store: String,
    namespace: String,
    cleared: bool,
    dry_run: bool,
    /// As they were before.
    facts: BTreeMap<String, Value>,
}

impl Report {
    fn text(&self) -> String {
        let Self { store, namespace, .. } = self;
        if self.dry_run {
            let facts = facts::lines(&self.facts);
            format!(
                "{facts}the events of the namespace {namespace} in {store} would be forgotten\n"
            )
        } else {
            format!("{store}: the events of the namespace {namespace} are forgotten\n")
        }
    }
}
