use tower_inbox::inbox::store::{AuditEntry, AuditFilter, InboxAdmin};

use crate::{
    args::AuditArgs,
    database::{Backend, Location, Use, with_store},
    error::Failure,
    exit::Exit,
    explained::Entry,
    output::Format,
    pages::{self, Listing},
    subject::parse_key,
    text::{Table, line, time},
};

/// Lists what people did by hand.
pub(super) async fn audit(
    args: AuditArgs,
    location: &Location,
    format: Format,
) -> Result<Exit, Failure> {
    let mut filter = AuditFilter::default();
    if let Some(consumer) = args.consumer {
        filter = filter.consumer(consumer);
    }
    if let Some(key) = &args.key_value {
        filter = filter.key(parse_key(key)?);
    }
    let database = location.open(Use { create: false, connections: 2 }).await?;
    with_store!(database, store => {
        let listed = async {
            store.check().await?;
            pages::print::<Entries, _>(&args.pages, format, |paging| {
                store.audit(filter.clone(), paging)
            })
            .await
        }
        .await;
        store.close().await;
        listed
    })
}

struct Entries;

impl Listing for Entries {
    type Item = AuditEntry;
    type Row = Entry;

    const NAME: &'static str = "entries";

    fn row(entry: &AuditEntry) -> Entry {
        Entry::new(entry)
    }

    fn text(entries: &[AuditEntry]) -> String {
        let mut table = Table::new(["at", "actor", "action", "consumer", "key", "it was"]);
        for entry in entries {
            table.row([
                time(entry.at),
                line(&entry.actor, 24),
                line(&entry.action, 16),
                line(&entry.consumer, 32),
                entry.key.map_or_else(|| "-".into(), |key| key.to_string()),
                entry.detail.as_deref().map_or_else(|| "-".into(), |detail| line(detail, 60)),
            ]);
        }
        if table.is_empty() { "nobody did anything by hand\n".into() } else { table.render() }
    }
}
