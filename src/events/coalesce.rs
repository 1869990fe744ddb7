use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::{mpsc, oneshot};

use super::{
    ClaimToken, EventIds, EventWindow, EventsError, EventsErrorKind, backend::ClaimAnswer,
    engine::Engine,
};
use crate::hook::BoxFuture;

/// Puts single calls that arrive at the same time into one request; made by
/// [`EventDeduplicator::coalesced`](super::EventDeduplicator::coalesced).
///
/// Ends when the deduplicator and its clones are gone.
///
/// # Cancellation
///
/// Dropping it fails the calls that wait. Later ones go to the server by themselves.
#[must_use = "calls wait until the driver is polled"]
pub struct CoalesceDriver(BoxFuture<'static, ()>);

/// Where single calls queue.
#[derive(Debug, Clone)]
pub(super) struct Queue(mpsc::UnboundedSender<Job>);

#[derive(Debug)]
struct Job {
    id: Box<[u8]>,
    ask: Ask,
    reply: oneshot::Sender<Result<Answer, EventsError>>,
}

/// What is asked for one id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Look,
    Mark(EventWindow),
    CheckAndMark(EventWindow),
    Claim(ClaimToken),
    Confirm(ClaimToken, EventWindow),
    Release(ClaimToken),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Yes(bool),
    Claim(ClaimAnswer),
}

impl CoalesceDriver {
    pub(super) fn new(engine: Arc<Engine>) -> (Queue, Self) {
        let (sender, mut queue) = mpsc::unbounded_channel();
        let driving = Box::pin(async move {
            let limit = engine.config.settings().get().coalesce_limit();
            let mut jobs = Vec::new();
            // One request at a time: what arrives meanwhile makes the next one larger, and a second
            // request under way was measured to make both slower.
            while queue.recv_many(&mut jobs, limit).await > 0 {
                let mut rest = std::mem::take(&mut jobs);
                loop {
                    // Nobody waits for those any more; a claim would be one that nobody ends.
                    rest.retain(|job: &Job| !job.reply.is_closed());
                    let Some(first) = rest.first() else { break };
                    let ask = first.ask;
                    let (same, other) = rest.into_iter().partition(|job| alike(job.ask, ask));
                    answer(&engine, ask, same).await;
                    rest = other;
                }
            }
        });
        (Queue(sender), Self(driving))
    }
}

impl Queue {
    /// The answer, or none where the driver has ended and nothing was asked.
    pub(super) async fn ask(&self, id: &[u8], ask: Ask) -> Option<Result<Answer, EventsError>> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Job { id: id.into(), ask, reply }).ok()?;
        // A driver that is dropped with the job in its hands may have asked.
        Some(answer.await.unwrap_or_else(|_| {
            Err(EventsError::new(EventsErrorKind::OutcomeUnknown, "coalescer", name(ask), 1)
                .because("the driver that puts calls together was dropped"))
        }))
    }
}

/// Whether two go into one request.
fn alike(one: Ask, other: Ask) -> bool {
    match (one, other) {
        (Ask::Claim(_), Ask::Claim(_)) | (Ask::Release(_), Ask::Release(_)) => true,
        (Ask::Confirm(_, one), Ask::Confirm(_, other)) => one == other,
        (one, other) => one == other,
    }
}

async fn answer(engine: &Engine, ask: Ask, jobs: Vec<Job>) {
    let mut ids = EventIds::with_capacity(jobs.len());
    let mut tokens = Vec::new();
    for job in &jobs {
        ids.push(&job.id);
        match job.ask {
            Ask::Claim(token) | Ask::Confirm(token, _) | Ask::Release(token) => tokens.push(token),
            Ask::Look | Ask::Mark(_) | Ask::CheckAndMark(_) => {}
        }
    }
    let answers = perform(engine, ask, &ids, &tokens).await;
    match answers {
        Ok(answers) => {
            for (job, answer) in jobs.into_iter().zip(answers) {
                // Who stopped waiting does not hear it.
                let _ = job.reply.send(Ok(answer));
            }
        }
        Err(error) => {
            for job in jobs {
                let _ = job.reply.send(Err(error.clone()));
            }
        }
    }
}

/// Does the same for all ids of a batch.
pub(super) async fn perform(
    engine: &Engine,
    ask: Ask,
    ids: &EventIds,
    tokens: &[ClaimToken],
) -> Result<Vec<Answer>, EventsError> {
    let yes = |answers: Vec<bool>| answers.into_iter().map(Answer::Yes).collect();
    Ok(match ask {
        Ask::Look => yes(engine.look(ids).await?),
        Ask::Mark(window) => {
            engine.mark(ids, &window).await?;
            vec![Answer::Yes(true); ids.len()]
        }
        Ask::CheckAndMark(window) => yes(engine.check_and_mark(ids, &window).await?),
        Ask::Claim(_) => engine.claim(ids, tokens).await?.into_iter().map(Answer::Claim).collect(),
        Ask::Confirm(_, window) => yes(engine.confirm(ids, tokens, &window).await?),
        Ask::Release(_) => yes(engine.release(ids, tokens).await?),
    })
}

fn name(ask: Ask) -> &'static str {
    use super::engine;
    match ask {
        Ask::Look => engine::IS_DUPLICATE,
        Ask::Mark(_) => engine::MARK_SEEN,
        Ask::CheckAndMark(_) => engine::CHECK_AND_MARK,
        Ask::Claim(_) => engine::CLAIM,
        Ask::Confirm(..) => engine::CONFIRM,
        Ask::Release(_) => engine::RELEASE,
    }
}

impl Future for CoalesceDriver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for CoalesceDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoalesceDriver").finish_non_exhaustive()
    }
}
