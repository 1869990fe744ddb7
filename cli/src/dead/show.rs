use serde::Serialize;
use tower_inbox::inbox::store::{DeadLetter, InboxAdmin};

use crate::{
    args::{ConsumeArgs, DeadShowArgs},
    database::{Backend, Location, Use, with_store},
    error::Failure,
    exit::Exit,
    explained::Letter,
    output::{self, Format},
    subject::{consumer, parse_key},
    text::time,
};

/// Shows one dead letter with its payload, or writes the payload out as it is.
pub(super) async fn show(
    args: DeadShowArgs,
    file: ConsumeArgs,
    location: &Location,
    format: Format,
) -> Result<Exit, Failure> {
    let (consumer, key) = (consumer(args.consumer, &file)?, parse_key(&args.key)?);
    let database = location.open(Use { create: false, connections: 2 }).await?;
    let letter: Option<DeadLetter> = with_store!(database, store => {
        let letter = async {
            store.check().await?;
            store.letter(consumer.clone(), key).await
        }
        .await;
        store.close().await;
        letter?
    });
    let letter = letter.ok_or_else(|| {
        Failure::stopped(format!("the consumer {consumer:?} has no dead letter {key}"))
            .advice("`tower-inbox dead list` shows the ones there are")
    })?;
    if args.payload {
        let payload = letter.payload.ok_or_else(|| {
            Failure::stopped("the letter has no payload: its layer was not told how to keep one")
        })?;
        output::write(&payload)?;
        return Ok(Exit::Done);
    }
    let report = Report::new(&letter);
    output::print(&format.render(&report, |_| text(&letter)))?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    letter: Letter,
    /// Where it is text.
    payload: Option<String>,
    /// Where it is not.
    payload_hex: Option<String>,
}

impl Report {
    fn new(letter: &DeadLetter) -> Self {
        let (payload, payload_hex) = match letter.payload.as_deref().map(std::str::from_utf8) {
            None => (None, None),
            Some(Ok(text)) => (Some(text.to_owned()), None),
            Some(Err(_)) => {
                let bytes = letter.payload.iter().flatten();
                (None, Some(bytes.map(|byte| format!("{byte:02x}")).collect()))
            }
        };
        Self { letter: Letter::new(&letter.summary), payload, payload_hex }
    }
}

fn text(letter: &DeadLetter) -> String {
    let summary = &letter.summary;
    let mut text = format!(
        "consumer      {}\nkey           {}\ndied at       {}\nattempts      {}\n\
         first at      {}\ndeaths        {}\n",
        summary.consumer,
        summary.key,
        time(summary.died_at),
        summary.attempts,
        time(summary.first_at),
        summary.deaths,
    );
    if let Some(at) = summary.requeued_at {
        text += &format!("requeued at   {}\n", time(at));
    }
    text += &format!("reason        {}\n", crate::text::line(&summary.reason, 500));
    text += &match (&letter.payload, summary.payload_bytes) {
        (Some(payload), Some(bytes)) => match std::str::from_utf8(payload) {
            Ok(payload) => format!("payload       {}\n", crate::text::line(payload, 2000)),
            Err(_) => format!("payload       {bytes} bytes, not text; --payload writes them out\n"),
        },
        _ => "payload       none was kept\n".into(),
    };
    text
}
