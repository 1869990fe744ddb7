use std::time::Duration;

use serde::Serialize;
use tower_inbox::{
    error::StoreError,
    inbox::store::{ConsumerSummary, InboxAdmin},
};

use crate::{
    database::{Backend, Location, Use, with_store},
    error::Failure,
    exit::Exit,
    output::{self, Format},
    text::{Table, line},
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

async fn look<B: Backend + InboxAdmin>(
    store: &B,
) -> Result<(Option<i64>, Vec<Consumer>), StoreError> {
    let schema = store.version().await?;
    // Of another version only the number can be read for sure.
    let consumers = if schema == Some(EXPECTED) { store.consumers().await? } else { Vec::new() };
    Ok((schema, consumers.into_iter().map(Consumer::new).collect()))
}

#[derive(Serialize)]
struct Report {
    database: String,
    schema: Option<i64>,
    expected: i64,
    consumers: Vec<Consumer>,
}

/// A consumer and its claims.
#[derive(Serialize)]
struct Consumer {
    name: String,
    window_seconds: u64,
    live: u64,
    in_flight: u64,
    expired: u64,
    dead_letters: u64,
    requeued: u64,
}

impl Consumer {
    fn new(consumer: ConsumerSummary) -> Self {
        Self {
            name: consumer.name,
            window_seconds: consumer.window.as_secs(),
            live: consumer.live,
            in_flight: consumer.in_flight,
            expired: consumer.expired,
            dead_letters: consumer.dead_letters,
            requeued: consumer.requeued,
        }
    }
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
        let mut table = Table::new([
            "consumer",
            ">window",
            ">live",
            ">in flight",
            ">expired",
            ">dead",
            ">requeued",
        ]);
        for consumer in &self.consumers {
            let window = Duration::from_secs(consumer.window_seconds);
            table.row([
                line(&consumer.name, 60),
                humantime::format_duration(window).to_string().replace(' ', ""),
                consumer.live.to_string(),
                consumer.in_flight.to_string(),
                consumer.expired.to_string(),
                consumer.dead_letters.to_string(),
                consumer.requeued.to_string(),
            ]);
        }
        text += "\n";
        text += &table.render();
        text
    }
}

#[cfg(feature = "_database")]
const EXPECTED: i64 = tower_inbox::schema::VERSION;
#[cfg(not(feature = "_database"))]
const EXPECTED: i64 = 0;
