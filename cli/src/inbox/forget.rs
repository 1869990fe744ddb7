use serde::Serialize;
use tower_inbox::inbox::store::{Forgotten, InboxAdmin, Intervention, KeyState};

use crate::{
    args::{ConsumeArgs, ForgetArgs},
    database::{Backend, Location, Use, with_store},
    error::Failure,
    exit::Exit,
    explained::word,
    output::{self, Format},
    subject::{Subject, actor},
    text::{line, time},
};

/// Lets one message through again.
pub(super) async fn forget(
    args: ForgetArgs,
    file: ConsumeArgs,
    location: &Location,
    format: Format,
) -> Result<Exit, Failure> {
    let ForgetArgs { subject, force, deed } = args;
    let subject = Subject::new(subject, file)?;
    let actor = actor(deed.actor);
    let database = location.open(Use { create: false, connections: 2 }).await?;
    let (intervention, forgotten): (Intervention, Forgotten) = with_store!(database, store => {
        let forgotten = async {
            store.check().await?;
            // Its key is checked against how the consumer makes keys.
            let key = subject.explain(&store).await?.key;
            let intervention = Intervention::new(subject.consumer, key, actor)
                .force(force)
                .dry_run(deed.dry_run);
            let forgotten = store.forget(intervention.clone()).await?;
            Ok::<_, Failure>((intervention, forgotten))
        }
        .await;
        store.close().await;
        forgotten?
    });
    let state = match forgotten {
        Forgotten::Done(state) => Some(state),
        Forgotten::NotThere => None,
        refused => return Err(refusal(&refused)),
    };
    let report = Report {
        consumer: intervention.consumer.to_string(),
        key: intervention.key.to_string(),
        forgotten: state.is_some() && !intervention.dry_run,
        was: state.as_ref().map(word),
        dry_run: intervention.dry_run,
    };
    output::print(&format.render(&report, Report::text))?;
    if report.forgotten && matches!(state, Some(KeyState::Handled { .. })) {
        output::note(
            "programs that remember committed keys may take it for a duplicate a little longer",
        );
    }
    Ok(Exit::Done)
}

fn refusal(refused: &Forgotten) -> Failure {
    match refused {
        Forgotten::InTransaction => {
            Failure::stopped("a transaction is at work on the message, so nothing was done")
                .advice("wait until it has ended, and look with `tower-inbox inbox explain`")
        }
        Forgotten::Leased(lease) => Failure::stopped(format!(
            "{} has leased the message until {}, so nothing was done",
            line(&lease.owner, 60),
            time(lease.until)
        ))
        .advice(
            "wait until it is completed or over; --force takes the lease away, and whoever holds it \
             cannot complete it then",
        ),
        Forgotten::DeadLetter => {
            Failure::stopped("the message is a dead letter, so nothing was done")
                .advice("`tower-inbox dead requeue` with its key lets it through again")
        }
        _ => Failure::stopped("nothing was done"),
    }
}

#[derive(Serialize)]
struct Report {
    consumer: String,
    key: String,
    forgotten: bool,
    was: Option<&'static str>,
    dry_run: bool,
}

impl Report {
    fn text(&self) -> String {
        let Self { key, was, dry_run, .. } = self;
        match (was, dry_run) {
            (None, _) => format!("{key}: there is nothing to forget\n"),
            (Some(was), true) => format!("{key}: would be forgotten; it is {was}\n"),
            (Some(was), false) => {
                format!("{key}: forgotten; it was {was}, and its next delivery is handled\n")
            }
        }
    }
}
