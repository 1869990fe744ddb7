use std::{io, sync::Arc};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::mpsc;
use tower::{Service, ServiceExt};
use tower_inbox::{BoxError, Outcome, lines::DeadLetters};

use super::{
    Message, Progress, Stop, Tally,
    ended::{Ended, Verdict},
    input::Item,
};
use crate::{error::Failure, signals::Signals};

/// One pass over the stream.
pub(super) struct Run {
    pub(super) workers: usize,
    pub(super) tally: Tally,
    pub(super) dead_letters: DeadLetters,
    pub(super) progress: Progress,
    pub(super) signals: Signals,
    pub(super) stop: Stop,
}

impl Run {
    /// Calls the service with one message after the other, a bounded number at once.
    ///
    /// What stops it, a signal or a failure, lets the messages under way end. Another signal does
    /// not.
    pub(super) async fn through<S>(
        mut self,
        service: S,
        mut lines: mpsc::Receiver<io::Result<Item>>,
    ) -> (Ended, Tally, DeadLetters)
    where
        S: Service<Arc<Message>, Response = Outcome<()>, Error = BoxError> + Clone,
    {
        let mut under_way = FuturesUnordered::new();
        let mut ended = None;
        let mut signalled = false;
        while ended.is_none() || !under_way.is_empty() {
            let now = tokio::select! {
                biased;
                () = self.signals.next() => {
                    if signalled {
                        break;
                    }
                    signalled = true;
                    Some(Ended::Interrupted)
                }
                Some((number, result)) = under_way.next() => {
                    self.settle(number, Verdict::new(result))
                }
                item = lines.recv(), if ended.is_none() && under_way.len() < self.workers => {
                    match item {
                        None => Some(Ended::ReadToEnd),
                        Some(Err(error)) => Some(Ended::unreadable(error)),
                        Some(Ok(Item { line, offset })) => {
                            self.progress.read(offset);
                            match line {
                                Ok(message) => {
                                    let number = message.number;
                                    let call = service.clone().oneshot(message);
                                    under_way.push(async move { (number, call.await) });
                                    None
                                }
                                Err(bad) => self.bury(&bad),
                            }
                        }
                    }
                }
            };
            if let Some(now) = now {
                // Reading to the end is no reason for those who wait to give up.
                if !matches!(now, Ended::ReadToEnd) {
                    self.stop.now();
                }
                // The first reason is the cause of the others; but what stops the messages under
                // way after the last line was read is a reason, too.
                if matches!(ended, None | Some(Ended::ReadToEnd)) {
                    ended = Some(now);
                }
            }
        }
        drop(under_way);
        self.progress.finish();
        self.tally.finish();
        let mut ended = ended.unwrap_or(Ended::ReadToEnd);
        if let (Err(error), Ended::ReadToEnd) = (self.dead_letters.sync(), &ended) {
            ended = self.unburied(error);
        }
        (ended, self.tally, self.dead_letters)
    }

    fn settle(&mut self, number: u64, verdict: Verdict) -> Option<Ended> {
        match verdict {
            Verdict::Handled => self.tally.handled += 1,
            Verdict::Duplicate => self.tally.duplicates += 1,
            Verdict::InFlight => self.tally.in_flight += 1,
            Verdict::Failed(reason) => {
                self.tally.failed += 1;
                self.progress.note(&format!("line {number} failed: {reason}"));
            }
            Verdict::Stop(failure) => return Some(Ended::Broken(failure)),
        }
        self.progress.delivered(&self.tally);
        None
    }

    fn bury(&mut self, bad: &tower_inbox::lines::BadLine) -> Option<Ended> {
        if let Err(error) = self.dead_letters.push(bad) {
            return Some(self.unburied(error));
        }
        self.tally.dead_letter(bad);
        self.progress.delivered(&self.tally);
        None
    }

    fn unburied(&self, error: io::Error) -> Ended {
        let path = self.dead_letters.path().display();
        Ended::Broken(
            Failure::stopped(format!("could not write dead letters to {path}"))
                .because(error)
                .advice(
                    "make room, or name another file with --dead-letters; then run the same \
                     command again",
                ),
        )
    }
}
