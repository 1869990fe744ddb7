use tower_inbox::inbox::store::{Explanation, InboxAdmin, KeyState};

use crate::{
    args::{ConsumeArgs, SubjectArgs},
    database::{Backend, Location, Use, with_store},
    error::Failure,
    exit::Exit,
    explained::{Explained, word},
    output::{self, Format},
    subject::Subject,
    text::{length, line, time},
};

/// Shows what is written about one message, field by field.
pub(super) async fn show(
    args: SubjectArgs,
    file: ConsumeArgs,
    location: &Location,
    format: Format,
) -> Result<Exit, Failure> {
    let explanation = look(args, file, location).await?;
    let report = Explained::new(&explanation);
    output::print(&format.render(&report, |_| text(&explanation)))?;
    Ok(Exit::Done)
}

/// Finds what is known of the message that the flags name.
pub(super) async fn look(
    args: SubjectArgs,
    file: ConsumeArgs,
    location: &Location,
) -> Result<Explanation, Failure> {
    let subject = Subject::new(args, file)?;
    let database = location.open(Use { create: false, connections: 2 }).await?;
    with_store!(database, store => {
        let explained = explain(&store, &subject).await;
        store.close().await;
        explained
    })
}

async fn explain<B: Backend + InboxAdmin>(
    store: &B,
    subject: &Subject,
) -> Result<Explanation, Failure> {
    store.check().await?;
    subject.explain(store).await
}

fn text(explanation: &Explanation) -> String {
    let mut lines: Vec<(&str, String)> = vec![
        ("consumer", explanation.consumer.to_string()),
        ("key", explanation.key.to_string()),
        ("state", word(&explanation.state).replace('_', " ")),
        ("window", length(explanation.window.as_secs())),
    ];
    match &explanation.state {
        KeyState::Handled { at, until } => {
            lines.push(("handled at", at.map_or_else(|| "unknown".into(), time)));
            lines.push(("until", time(*until)));
        }
        KeyState::Dead { until } | KeyState::Expired { until } => {
            lines.push(("until", time(*until)));
        }
        KeyState::Leased(lease) => {
            lines.push(("leased by", line(&lease.owner, 60)));
            lines.push(("until", time(lease.until)));
            lines.push(("token", lease.token.to_string()));
        }
        _ => {}
    }
    if explanation.leases > 0 {
        lines.push(("leases", explanation.leases.to_string()));
    }
    if let Some(attempts) = &explanation.attempts {
        lines.push(("attempts", attempts.attempts.to_string()));
        lines.push(("last attempt", time(attempts.last_at)));
        if let Some(error) = &attempts.last_error {
            lines.push(("last error", line(error, 200)));
        }
    }
    if let Some(record) = &explanation.record {
        if let Some(fingerprint) = record.fingerprint {
            let bytes = u128::from_be_bytes(*fingerprint.as_bytes());
            lines.push(("fingerprint", format!("{bytes:032x}")));
        }
        if let Some(bytes) = record.response_bytes {
            lines.push(("response", format!("{bytes} bytes")));
        }
    }
    if let Some(letter) = &explanation.letter {
        lines.push(("died at", time(letter.died_at)));
        lines.push(("deaths", letter.deaths.to_string()));
        lines.push(("reason", line(&letter.reason, 200)));
        if let Some(bytes) = letter.payload_bytes {
            lines.push(("payload", format!("{bytes} bytes")));
        }
        if let Some(at) = letter.requeued_at {
            lines.push(("requeued at", time(at)));
        }
    }
    for entry in &explanation.audit {
        let actor = line(&entry.actor, 40);
        lines.push(("audit", format!("{} {} by {actor}", time(entry.at), entry.action)));
    }
    lines.iter().map(|(name, value)| format!("{name:<13} {value}\n")).collect()
}
