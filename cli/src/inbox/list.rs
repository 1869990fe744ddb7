use serde::Serialize;
use tower_inbox::inbox::store::{ClaimFilter, ClaimState, ClaimSummary, InboxAdmin};

use crate::{
    args::{ConsumeArgs, ListArgs},
    database::{Backend, Location, Use, with_store},
    error::Failure,
    exit::Exit,
    output::Format,
    pages::{self, Listing},
    subject,
    text::{Table, from_now, time},
};

/// Lists the claims of a consumer.
pub(super) async fn list(
    args: ListArgs,
    file: ConsumeArgs,
    location: &Location,
    format: Format,
) -> Result<Exit, Failure> {
    let mut filter = ClaimFilter::of(subject::consumer(args.consumer, &file)?);
    if let Some(text) = &args.state {
        let state: ClaimState = text
            .parse()
            .map_err(|error| Failure::usage(format!("--state {text}")).because(error))?;
        filter = filter.state(state);
    }
    let database = location.open(Use { create: false, connections: 2 }).await?;
    with_store!(database, store => {
        let listed = async {
            store.check().await?;
            pages::print::<Claims, _>(&args.pages, format, |paging| {
                store.claims(filter.clone(), paging)
            })
            .await
        }
        .await;
        store.close().await;
        listed
    })
}

struct Claims;

impl Listing for Claims {
    type Item = ClaimSummary;
    type Row = Row;

    const NAME: &'static str = "claims";

    fn row(claim: &ClaimSummary) -> Row {
        Row {
            key: claim.key.to_string(),
            state: claim.state.as_str(),
            handled_at: claim.handled_at.map(time),
            until: claim.until.map(time),
            attempts: claim.attempts,
        }
    }

    fn text(claims: &[ClaimSummary]) -> String {
        let mut table = Table::new(["key", "state", "handled", "until", ">attempts"]);
        for claim in claims {
            table.row([
                claim.key.to_string(),
                claim.state.as_str().into(),
                claim.handled_at.map_or_else(|| "-".into(), from_now),
                claim.until.map_or_else(|| "-".into(), from_now),
                claim.attempts.to_string(),
            ]);
        }
        if table.is_empty() { "there are none\n".into() } else { table.render() }
    }
}

#[derive(Serialize)]
struct Row {
    key: String,
    state: &'static str,
    handled_at: Option<String>,
    until: Option<String>,
    attempts: u32,
}
