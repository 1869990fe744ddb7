use std::{io, pin::pin, sync::Arc};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::mpsc;
use tower::{Service, ServiceExt};
use tower_inbox::{BoxError, Outcome, inbox::redelivery::Redelivery, lines::DeadLetters};

use super::{Message, Stop, Tally, lines::Item, verdict::Verdict};
use crate::{
    database::Backend, dead_letters::unburied, ended::Ended, progress::Progress, signals::Signals,
};

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
    pub(super) async fn through<B, S, D>(
        mut self,
        service: S,
        letters: Redelivery<B, S, D>,
        mut lines: mpsc::Receiver<io::Result<Item>>,
    ) -> (Ended, Tally, DeadLetters)
    where
        B: Backend,
        S: Service<Arc<Message>, Response = Outcome<()>, Error = BoxError> + Clone,
        D: Fn(Vec<u8>) -> Result<Arc<Message>, BoxError>,
    {
        let mut under_way = FuturesUnordered::new();
        let mut signalled = false;
        let mut ended = self.redeliver(letters, &mut signalled).await;
        if ended.is_some() {
            self.stop.now();
        }
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
                    self.settle(&format!("line {number}"), Verdict::new(result))
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
            ended = Ended::Broken(unburied(&self.dead_letters, error));
        }
        (ended, self.tally, self.dead_letters)
    }

    /// Delivers what people have requeued, one letter after the other, as the stream is then.
    async fn redeliver<B, S, D>(
        &mut self,
        mut letters: Redelivery<B, S, D>,
        signalled: &mut bool,
    ) -> Option<Ended>
    where
        B: Backend,
        S: Service<Arc<Message>, Response = Outcome<()>, Error = BoxError>,
        D: Fn(Vec<u8>) -> Result<Arc<Message>, BoxError>,
    {
        loop {
            let next = {
                let mut next = pin!(letters.deliver_next());
                loop {
                    tokio::select! {
                        biased;
                        () = self.signals.next() => {
                            if *signalled {
                                return Some(Ended::Interrupted);
                            }
                            // The one under way ends.
                            *signalled = true;
                            self.stop.now();
                        }
                        next = &mut next => break next,
                    }
                }
            };
            let redelivered = match next {
                Ok(Some(redelivered)) => redelivered,
                Ok(None) => return signalled.then_some(Ended::Interrupted),
                Err(error) => return Some(Ended::Broken(error.into())),
            };
            let name = format!("letter {}", redelivered.key);
            let verdict = Verdict::new(redelivered.result);
            if !matches!(verdict, Verdict::Stop(_)) {
                self.tally.redelivered += 1;
            }
            let ended = self.settle(&name, verdict);
            if ended.is_some() || *signalled {
                return ended.or(Some(Ended::Interrupted));
            }
        }
    }

    fn settle(&mut self, name: &str, verdict: Verdict) -> Option<Ended> {
        match verdict {
            Verdict::Handled => self.tally.handled += 1,
            Verdict::Duplicate => self.tally.duplicates += 1,
            Verdict::InFlight => self.tally.in_flight += 1,
            Verdict::Failed(reason) => {
                self.tally.failed += 1;
                self.progress.note(&format!("{name} failed: {reason}"));
            }
            Verdict::DeadLettered(reason) => {
                self.tally.dead_lettered += 1;
                self.progress.note(&format!("{name} is a dead letter: {reason}"));
            }
            Verdict::Stop(failure) => return Some(Ended::Broken(failure)),
        }
        self.progress.delivered(self.tally.delivered());
        None
    }

    fn bury(&mut self, bad: &tower_inbox::lines::BadLine) -> Option<Ended> {
        if let Err(error) = self.dead_letters.push(bad) {
            return Some(Ended::Broken(unburied(&self.dead_letters, error)));
        }
        self.tally.dead_letter(bad);
        self.progress.delivered(self.tally.delivered());
        None
    }
}
