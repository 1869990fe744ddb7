use tower_inbox::inbox::store::{Explanation, KeyState, LetterState};

use super::show::look;
use crate::{
    args::{ConsumeArgs, SubjectArgs},
    database::Location,
    error::Failure,
    exit::Exit,
    explained::Explained,
    output::{self, Format},
    text::{from_now, length, line, time},
};

/// Says what the next delivery of a message would come to, and why.
pub(super) async fn explain(
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

fn text(explanation: &Explanation) -> String {
    let mut text =
        format!("Message {} of the consumer {}\n\n", explanation.key, explanation.consumer);
    for sentence in sentences(explanation) {
        text += &sentence;
        text += "\n";
    }
    text
}

fn sentences(explanation: &Explanation) -> Vec<String> {
    let mut sentences = Vec::new();
    let mut say = |sentence: String| sentences.push(sentence);
    let at = |moment| format!("{} ({})", time(moment), from_now(moment));
    match &explanation.state {
        KeyState::Free => say(match (&explanation.letter, &explanation.attempts) {
            (Some(letter), _) if letter.state() == LetterState::Requeued => {
                "The next delivery is handled: it is a dead letter that was requeued.".into()
            }
            (None, None) => {
                "The next delivery is handled: there is no claim. It was never handled \
                             by this consumer, or its claim was forgotten or swept."
                    .into()
            }
            _ => "The next delivery is handled: there is no claim.".into(),
        }),
        KeyState::Expired { until } => say(format!(
            "The next delivery is handled: the window of its earlier claim ended {}.",
            at(*until)
        )),
        KeyState::InTransaction => {
            say("The next delivery is in flight: a transaction is at work on it at this moment."
                .into())
        }
        KeyState::Leased(lease) => {
            say(format!(
                "The next delivery is in flight: {} has leased it until {}.",
                line(&lease.owner, 60),
                at(lease.until)
            ));
            say(format!(
                "Its fencing token is {}; it was given out {} times without being completed.",
                lease.token, lease.attempt
            ));
        }
        KeyState::Handled { at: handled, until } => {
            say(format!("The next delivery is dropped as a duplicate until {}.", at(*until)));
            say(match handled {
                Some(handled) => format!(
                    "It was handled about {}, counted back from there by the window of {}.",
                    at(*handled),
                    length(explanation.window.as_secs())
                ),
                None => {
                    "When it was handled is not known, because the window was changed since.".into()
                }
            });
        }
        KeyState::Dead { until } => {
            say(format!("The next delivery is dropped as a dead letter until {}.", at(*until)))
        }
        _ => {}
    }
    if explanation.leases > 0 && !matches!(explanation.state, KeyState::Leased(_)) {
        say(format!("It was leased {} times without being completed.", explanation.leases));
    }
    if let Some(failed) = &explanation.attempts {
        say(format!(
            "Attempts at it: {}; the first {}, the last {}.",
            failed.attempts,
            at(failed.first_at),
            at(failed.last_at)
        ));
        if let Some(error) = &failed.last_error {
            say(format!("The last error: {}", line(error, 500)));
        }
    }
    if let Some(letter) = &explanation.letter {
        say(format!("It died {}, after {}.", at(letter.died_at), letter.attempts));
        say(format!("The reason: {}", line(&letter.reason, 500)));
        if letter.deaths > 1 {
            say(format!("It was the death number {}.", letter.deaths));
        }
        match (letter.requeued_at, letter.payload_bytes) {
            (None, _) => say("`tower-inbox dead requeue` lets it through again.".into()),
            (Some(requeued), Some(_)) => say(format!(
                "It was requeued {} and waits for `consume`, or for the program that consumes.",
                at(requeued)
            )),
            (Some(requeued), None) => say(format!(
                "It was requeued {} without a payload, and waits for its sender to deliver it.",
                at(requeued)
            )),
        }
    }
    if let Some(record) = &explanation.record {
        if let Some(bytes) = record.response_bytes {
            say(format!("A response of {bytes} bytes is kept for its duplicates."));
        }
        if record.fingerprint.is_some() {
            say("A fingerprint is kept: a duplicate that says something else is refused.".into());
        }
    }
    for entry in &explanation.audit {
        say(format!(
            "{}: {} by {}{}.",
            time(entry.at),
            entry.action,
            line(&entry.actor, 40),
            entry
                .detail
                .as_deref()
                .map_or_else(String::new, |was| format!(" (it was: {})", line(was, 100)))
        ));
    }
    sentences
}
