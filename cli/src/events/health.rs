use std::{collections::BTreeMap, error::Error, time::Duration};

use serde::Serialize;
use serde_json::Value;
use tower_inbox::events::{EventsError, EventsErrorKind, backend::Health};

use super::{facts, failure::advice, store::Store};
use crate::{
    args::StoreArgs,
    error::Failure,
    exit::Exit,
    output::{self, Format},
};

/// Looks whether a store can keep what is promised.
pub(super) async fn health(
    args: StoreArgs,
    file: toml::Table,
    format: Format,
) -> Result<Exit, Failure> {
    let store = Store::to_look_at(args, file)?;
    let health = match look(&store).await {
        Err(error) if error.kind() == EventsErrorKind::Config => return Err(store.failure(error)),
        Err(error) => {
            // What keeps it from being looked at is what is wrong with it.
            let mut health = Health::default();
            health.problems.push(problem(&error));
            health
        }
        Ok(health) => health,
    };
    let report = Report::new(&store, &health);
    output::print(&format.render(&report, Report::text))?;
    Ok(if report.healthy { Exit::Done } else { Exit::Stopped })
}

async fn look(store: &Store) -> Result<Health, EventsError> {
    store.look_at().await?.health_check().await
}

/// An error with its causes, and what to do.
fn problem(error: &EventsError) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        let message = error.to_string();
        if !text.contains(&message) {
            text += &format!(": {message}");
        }
        below = error.source();
    }
    // The advice to look at the health is no help here.
    match advice(error.kind()).filter(|_| error.kind() != EventsErrorKind::Refused) {
        Some(advice) => format!("{text}; {advice}"),
        None => text,
    }
}

#[derive(Serialize)]
struct Report {
    store: String,
    namespace: String,
    healthy: bool,
    problems: Vec<String>,
    ping_ms: f64,
    facts: BTreeMap<String, Value>,
}

impl Report {
    fn new(store: &Store, health: &Health) -> Self {
        Self {
            store: store.shown.clone(),
            namespace: store.config.namespace().to_owned(),
            healthy: health.is_healthy(),
            problems: health.problems.clone(),
            ping_ms: millis(health.ping),
            facts: facts::values(&health.facts),
        }
    }

    fn text(&self) -> String {
        if self.healthy {
            return format!("{}: healthy, answers in {} ms\n", self.store, self.ping_ms);
        }
        let problems: Vec<_> = self.problems.iter().map(|text| format!("  - {text}\n")).collect();
        format!("{}: not healthy\n{}", self.store, problems.concat())
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
