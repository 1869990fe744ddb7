use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{facts, store::Store};
use crate::{
    args::StoreArgs,
    error::Failure,
    exit::Exit,
    output::{self, Format},
};

/// Shows what a store knows of itself.
pub(super) async fn stats(
    args: StoreArgs,
    file: toml::Table,
    format: Format,
) -> Result<Exit, Failure> {
    let store = Store::to_look_at(args, file)?;
    let events = store.look_at().await.map_err(|error| store.failure(error))?;
    let health = events.health_check().await.map_err(|error| store.failure(error))?;
    let report = Report {
        store: store.shown.clone(),
        namespace: store.config.namespace().to_owned(),
        healthy: health.is_healthy(),
        facts: facts::values(&health.facts),
    };
    output::print(&format.render(&report, Report::text))?;
    if store.is_memory() {
        output::note(FORGETS);
    }
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Report {
    store: String,
    namespace: String,
    healthy: bool,
    facts: BTreeMap<String, Value>,
}

impl Report {
    fn text(&self) -> String {
        let healthy = match self.healthy {
            true => "yes",
            false => "no: `tower-inbox events health` says why",
        };
        let mut all = self.facts.clone();
        all.insert("healthy".to_owned(), healthy.into());
        format!("store {}, namespace {}\n{}", self.store, self.namespace, facts::lines(&all))
    }
}

pub(super) const FORGETS: &str =
    "this is the memory of this process, which has just begun: name another one with --store";
