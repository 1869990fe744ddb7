use serde::Serialize;
use tower_inbox::{
    inbox::store::{Intervention, LetterState, Requeued},
    key::InboxKey,
};

use super::chosen::Chosen;
use crate::{
    args::{ConsumeArgs, RequeueArgs},
    database::{Backend, Location, Use, with_store},
    error::Failure,
    exit::Exit,
    output::{self, Format},
    subject::actor,
    text::{line, time},
};

/// Lets dead letters through again, and prints their messages if it is told to.
pub(super) async fn requeue(
    args: RequeueArgs,
    file: ConsumeArgs,
    location: &Location,
    format: Format,
) -> Result<Exit, Failure> {
    let RequeueArgs { chosen, again, print, deed } = args;
    let chosen = Chosen::new(chosen, &file)?;
    if print && deed.dry_run {
        return Err(Failure::usage("--print and --dry-run: what is printed is to be delivered")
            .advice("`tower-inbox dead show KEY --payload` prints without requeuing"));
    }
    let actor = actor(deed.actor);
    let database = location.open(Use { create: false, connections: 2 }).await?;
    let (report, stopped) = with_store!(database, store => {
        let mut report = Report { dry_run: deed.dry_run, ..Report::default() };
        let went = async {
            store.check().await?;
            // Of all, those that nobody has requeued yet; again, all of them.
            let state = (!again).then_some(LetterState::Dead);
            for key in chosen.keys(&store, state).await? {
                let intervention = Intervention::new(chosen.consumer.clone(), key, actor.clone())
                    .force(again)
                    .dry_run(deed.dry_run);
                report.add(one(&store, intervention, print).await?);
            }
            Ok::<_, Failure>(())
        }
        .await;
        store.close().await;
        (report, went.err())
    });
    let text = format.render(&report, Report::text);
    if print {
        output::note(text.trim_end());
    } else {
        output::print(&text)?;
    }
    if let Some(failure) = stopped {
        return Err(failure);
    }
    if report.refused > 0 {
        let refused = report.letters.iter().filter_map(|letter| letter.refusal.as_deref());
        return Err(Failure::stopped(format!(
            "{} of {} letters were not requeued: {}",
            report.refused,
            report.letters.len(),
            refused.collect::<Vec<_>>().join("; ")
        ))
        .advice(
            "`tower-inbox inbox explain --key-value KEY` says more; --again requeues what was \
             requeued before",
        ));
    }
    Ok(Exit::Done)
}

/// Requeues one letter.
///
/// Its message is printed afterwards: printed before, a fast broker would deliver it while it still
/// counts as dead, and that delivery would be the last one.
async fn one<B: Backend>(
    store: &B,
    intervention: Intervention,
    print: bool,
) -> Result<Letter, Failure> {
    let key = intervention.key;
    let mut payload = None;
    if print {
        let letter = store.letter(intervention.consumer.clone(), key).await?;
        match letter.map(|letter| letter.payload) {
            // The requeue says it better.
            None => {}
            Some(Some(bytes)) if is_line(&bytes) => payload = Some(bytes),
            Some(_) => {
                let refusal = format!("{key} has no payload that is one line of text");
                return Ok(Letter::refused(key, "unprintable", refusal));
            }
        }
    }
    let requeued = store.requeue(intervention).await?;
    if let (Requeued::Done { .. }, Some(mut payload)) = (&requeued, payload) {
        payload.push(b'\n');
        output::write(&payload)?;
    }
    Ok(Letter::new(key, requeued))
}

fn is_line(payload: &[u8]) -> bool {
    std::str::from_utf8(payload).is_ok_and(|text| !text.contains(['\n', '\r']))
}

#[derive(Default, Serialize)]
struct Report {
    requeued: u64,
    refused: u64,
    dry_run: bool,
    letters: Vec<Letter>,
}

#[derive(Serialize)]
struct Letter {
    key: String,
    /// `requeued`, or why not.
    result: &'static str,
    /// Whether there is a payload to be delivered from here.
    payload: Option<bool>,
    #[serde(skip)]
    refusal: Option<String>,
}

impl Report {
    fn add(&mut self, letter: Letter) {
        match letter.refusal {
            None => self.requeued += 1,
            Some(_) => self.refused += 1,
        }
        self.letters.push(letter);
    }

    fn text(&self) -> String {
        let would = if self.dry_run { "would be requeued" } else { "requeued" };
        let mut text = format!("{} letters {would}\n", self.requeued);
        let without = self.letters.iter().filter(|letter| letter.payload == Some(false)).count();
        let with = self.letters.iter().filter(|letter| letter.payload == Some(true)).count();
        if with > 0 && !self.dry_run {
            text += &format!(
                "{with} have a payload: the next `tower-inbox consume` of their consumer delivers \
                 them first, and so does a program with a `Redelivery`\n"
            );
        }
        if without > 0 {
            text += &format!(
                "{without} have no payload: their sender or broker has to deliver them again\n"
            );
        }
        text
    }
}

impl Letter {
    fn new(key: InboxKey, requeued: Requeued) -> Self {
        match requeued {
            Requeued::Done { payload } => Self {
                key: key.to_string(),
                result: "requeued",
                payload: Some(payload),
                refusal: None,
            },
            Requeued::NotThere => {
                Self::refused(key, "not_there", format!("{key} is no dead letter"))
            }
            Requeued::Already { at, by } => {
                let by = by.map_or_else(String::new, |by| format!(" by {}", line(&by, 40)));
                let refusal = format!("{key} was requeued {}{by} and is not handled yet", time(at));
                Self::refused(key, "already", refusal)
            }
            Requeued::Handled { until } => Self::refused(
                key,
                "handled",
                format!("{key} has been handled since it died (recognised until {})", time(until)),
            ),
            Requeued::InFlight => {
                Self::refused(key, "in_flight", format!("{key} is being handled at this moment"))
            }
            _ => Self::refused(key, "unknown", format!("{key} could not be requeued")),
        }
    }

    fn refused(key: InboxKey, result: &'static str, refusal: String) -> Self {
        Self { key: key.to_string(), result, payload: None, refusal: Some(refusal) }
    }
}
