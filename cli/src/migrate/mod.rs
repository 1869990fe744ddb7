use serde::Serialize;
use tower_inbox::error::StoreError;

use crate::{
    args::MigrateArgs,
    database::{Backend, Location, Use, with_store},
    error::Failure,
    exit::Exit,
    output::{self, Format},
};

#[cfg(feature = "_database")]
mod script;

/// Makes, updates or takes away the tables.
pub(crate) async fn migrate(
    args: &MigrateArgs,
    location: &Location,
    format: Format,
) -> Result<Exit, Failure> {
    #[cfg(feature = "_database")]
    if args.print {
        output::print(&script::script(location.scheme(), args.down))?;
        return Ok(Exit::Done);
    }
    if let Some(version) = args.down
        && !args.yes
    {
        return Err(Failure::usage(format!(
            "going down to version {version} loses every claim that only later versions hold, \
             and what was handled is then handled again"
        ))
        .advice("stop the consumers, then add --yes"));
    }
    let create = args.down.is_none();
    let database = location.open(Use { create, connections: 2 }).await?;
    let report = with_store!(database, store => {
        let went = go(&store, args.down).await;
        store.close().await;
        let (before, after) = went?;
        Report { database: location.to_string(), before, after }
    });
    output::print(&format.render(&report, Report::text))?;
    Ok(Exit::Done)
}

async fn go<B: Backend>(
    store: &B,
    down: Option<u32>,
) -> Result<(Option<i64>, Option<i64>), StoreError> {
    let before = store.version().await?;
    match down {
        None => store.up().await?,
        Some(version) => store.down(version.into()).await?,
    }
    Ok((before, store.version().await?))
}

#[derive(Serialize)]
struct Report {
    database: String,
    before: Option<i64>,
    after: Option<i64>,
}

impl Report {
    fn text(&self) -> String {
        let version =
            |version: Option<i64>| version.map_or("none".into(), |version| version.to_string());
        let (before, after) = (version(self.before), version(self.after));
        if before == after {
            format!("{}: inbox tables have version {after} already\n", self.database)
        } else {
            format!("{}: inbox tables went from version {before} to {after}\n", self.database)
        }
    }
}
