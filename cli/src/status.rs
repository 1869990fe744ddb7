use std::time::Duration;

use serde::Serialize;
use tower_inbox::error::StoreError;

use crate::{
    database::{Backend, Consumer, Location, Use, with_store},
    error::Failure,
    exit::Exit,
    output::{self, Format},
};

/// Shows the version of the tables, and each consumer with its claims.
pub(crate) async fn status(location: &Location, format: Format) -> Result<Exit, Failure> {
    let database = location.open(Use { create: false, connections: 2 }).await?;
    let report = with_store!(database, store => {
        let found = look(&store).await;
        store.close().await;
        let (schema, consumers) = found?;
        Report { database: location.to_string(), schema, expected: EXPECTED, consumers }
    });
    output::print(&format.render(&report, Report::text))?;
    Ok(Exit::Done)
}

async fn look<B: Backend>(store: &B) -> Result<(Option<i64>, Vec<Consumer>), StoreError> {
    let schema = store.version().await?;
    // Of another version only the number can be read for sure.
    let consumers = if schema == Some(EXPECTED) { store.consumers().await? } else { Vec::new() };
    Ok((schema, consumers))
}

#[derive(Serialize)]
struct Report {
    database: String,
    schema: Option<i64>,
    expected: i64,
    consumers: Vec<Consumer>,
}

impl Report {
    fn text(&self) -> String {
        let mut text = format!("database  {}\n", self.database);
        text += &match self.schema {
            None => "schema    none: run `tower-inbox migrate`\n".to_owned(),
            Some(found) if found < self.expected => format!(
                "schema    {found}, and this release needs {}: run `tower-inbox migrate`\n",
                self.expected
            ),
            Some(found) if found > self.expected => format!(
                "schema    {found}, made by a newer release; this one knows {}\n",
                self.expected
            ),
            Some(found) => format!("schema    {found}\n"),
        };
        if self.consumers.is_empty() {
            return text;
        }
        let names = self.consumers.iter().map(|consumer| consumer.name.chars().count());
        let width = names.max().unwrap_or(0).max("consumer".len());
        text += &format!(
            "\n{:<width$}  {:>10}  {:>10}  {:>10}  {:>10}\n",
            "consumer", "window", "live", "in flight", "expired"
        );
        for Consumer { name, window_seconds, live, in_flight, expired } in &self.consumers {
            let window = Duration::from_secs(window_seconds.cast_unsigned());
            let window = humantime::format_duration(window).to_string().replace(' ', "");
            text += &format!(
                "{name:<width$}  {window:>10}  {live:>10}  {in_flight:>10}  {expired:>10}\n"
            );
        }
        text
    }
}

#[cfg(feature = "_database")]
const EXPECTED: i64 = tower_inbox::schema::VERSION;
#[cfg(not(feature = "_database"))]
const EXPECTED: i64 = 0;
