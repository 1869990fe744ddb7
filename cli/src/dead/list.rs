use tower_inbox::inbox::store::{InboxAdmin, LetterFilter, LetterState, LetterSummary};

use crate::{
    args::{DeadListArgs, StateArg},
    database::{Backend, Location, Use, with_store},
    error::Failure,
    exit::Exit,
    explained::Letter,
    output::Format,
    pages::{self, Listing},
    text::{Table, from_now, line},
};

/// Lists dead letters, the newest first.
pub(super) async fn list(
    args: DeadListArgs,
    location: &Location,
    format: Format,
) -> Result<Exit, Failure> {
    let mut filter = LetterFilter::default();
    if let Some(consumer) = args.consumer {
        filter = filter.consumer(consumer);
    }
    filter.state = args.state.map(|state| match state {
        StateArg::Dead => LetterState::Dead,
        StateArg::Requeued => LetterState::Requeued,
    });
    let database = location.open(Use { create: false, connections: 2 }).await?;
    with_store!(database, store => {
        let listed = async {
            store.check().await?;
            pages::print::<Letters, _>(&args.pages, format, |paging| {
                store.letters(filter.clone(), paging)
            })
            .await
        }
        .await;
        store.close().await;
        listed
    })
}

struct Letters;

impl Listing for Letters {
    type Item = LetterSummary;
    type Row = Letter;

    const NAME: &'static str = "letters";

    fn row(letter: &LetterSummary) -> Letter {
        Letter::new(letter)
    }

    fn text(letters: &[LetterSummary]) -> String {
        let mut table =
            Table::new(["key", "consumer", "died", ">tries", ">deaths", "requeued", "reason"]);
        for letter in letters {
            table.row([
                letter.key.to_string(),
                line(&letter.consumer, 32),
                from_now(letter.died_at),
                letter.attempts.started.to_string(),
                letter.deaths.to_string(),
                letter.requeued_at.map_or_else(|| "-".into(), from_now),
                line(&letter.reason, 60),
            ]);
        }
        if table.is_empty() { "there are no dead letters\n".into() } else { table.render() }
    }
}
