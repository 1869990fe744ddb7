use std::{io, time::Instant};

use tokio::sync::mpsc;
use tower_inbox::{
    events::{Claim, Claimed, EventDeduplicator, EventsError},
    lines::{BadLine, DeadLetters},
};

use super::{
    Event, Interrupts, Printer, Tally,
    event::without_repeats,
    interrupts::Abandoned,
    lines::{BATCH, Item},
    patience::Patience,
};
use crate::{
    dead_letters::unburied,
    ended::Ended,
    error::Failure,
    events::{failure::is_outage, store::Store},
    progress::Progress,
};

/// One pass over the stream.
pub(super) struct Filter<'a> {
    pub(super) at_most_once: bool,
    pub(super) events: EventDeduplicator<Event>,
    pub(super) store: &'a Store,
    pub(super) printer: Printer,
    pub(super) tally: Tally,
    pub(super) dead_letters: DeadLetters,
    pub(super) progress: Progress,
    pub(super) interrupts: Interrupts,
    pub(super) patience: Patience,
}

impl Filter<'_> {
    /// Lets one batch after the other through: as many lines as there are, and no waiting for more.
    pub(super) async fn run(
        mut self,
        mut lines: mpsc::Receiver<io::Result<Item>>,
    ) -> (Ended, Tally, DeadLetters) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut ended = loop {
            match self.interrupts.until(lines.recv_many(&mut batch, BATCH)).await {
                None => break Ended::Interrupted,
                Some(0) => break Ended::ReadToEnd,
                Some(_) => {}
            }
            if let Err(ended) = self.pass(batch.drain(..)).await {
                break ended;
            }
        };
        self.progress.finish();
        self.tally.finish();
        if let (Err(error), Ended::ReadToEnd) = (self.dead_letters.sync(), &ended) {
            ended = Ended::Broken(unburied(&self.dead_letters, error));
        }
        (ended, self.tally, self.dead_letters)
    }

    async fn pass(&mut self, batch: impl Iterator<Item = io::Result<Item>>) -> Result<(), Ended> {
        let mut events = Vec::new();
        let mut unreadable = Ok(());
        for item in batch {
            match item {
                Ok(Item { line, offset, share }) => {
                    self.progress.read(offset);
                    match line {
                        Ok(message) => events.push(Event::new(message, share)),
                        Err(bad) => self.bury(&bad)?,
                    }
                }
                Err(error) => unreadable = Err(Ended::unreadable(error)),
            }
        }
        let events = without_repeats(events);
        if self.at_most_once {
            self.mark_and_print(events).await?;
        } else {
            self.claim_and_print(events).await?;
        }
        self.progress.delivered(self.tally.delivered());
        unreadable
    }

    /// Claims, prints, flushes, confirms. What is in flight with somebody else is waited for, and
    /// nothing is kept from others meanwhile: two runs that each held what the other waits for
    /// would wait for their leases.
    async fn claim_and_print(&mut self, mut events: Vec<Event>) -> Result<(), Ended> {
        let mut in_flight = false;
        while !events.is_empty() {
            // Until the first one is free there is no use in asking for the others.
            let asked = if in_flight { 1 } else { events.len() };
            let claimed_at = Instant::now();
            let claiming = self.events.batch_claim(&events[..asked]);
            let claimed = self.interrupts.finish(claiming).await.map_err(abandoned)?;
            let claimed = claimed.map_err(|error| self.broken(error))?;
            let mut batch = Batch::new(&mut events, claimed);

            let printed = self.print(&batch.new, claimed_at).await;
            let count = printed.count;
            in_flight = batch.in_flight && count == batch.new.len();
            self.tally.duplicates +=
                batch.duplicates.iter().map(|event| 1 + event.repeats).sum::<u64>();
            for (event, _) in &batch.new[..count] {
                self.tally.new += 1;
                self.tally.duplicates += event.repeats;
            }
            let mut claims = batch.new.iter().map(|(_, claim)| claim.clone()).collect::<Vec<_>>();
            let unprinted = claims.split_off(count);
            self.confirm(&claims).await?;
            batch.released.extend(unprinted);
            // If it fails, the lease ends them.
            let releasing = self.events.batch_release(&batch.released);
            self.interrupts.finish(releasing).await.map_err(abandoned)?.ok();

            printed.error.map_or(Ok(()), Err)?;
            if self.interrupts.came() {
                return Err(Ended::Interrupted);
            }
            events
                .splice(0..0, batch.new.drain(count..).map(|(event, _)| event).chain(batch.later));
            if in_flight {
                let (line, progress) = (events[0].message.number, &self.progress);
                let waiting = self.patience.wait(line, |text| progress.note(text));
                self.interrupts.until(waiting).await.ok_or(Ended::Interrupted)?;
            }
        }
        Ok(())
    }

    /// Prints what is ours, a piece at a time: until a signal comes, or so much of the lease is over
    /// that the rest is better claimed anew.
    async fn print(&mut self, new: &[(Event, Claim)], claimed_at: Instant) -> Printed {
        let enough = self.store.config.lease() / 2;
        let mut count = 0;
        while count < new.len() {
            if self.interrupts.came() || (count > 0 && claimed_at.elapsed() > enough) {
                break;
            }
            let piece = self.printer.print(new[count..].iter().map(|(event, _)| event));
            match self.interrupts.finish(piece).await {
                Ok(Ok(more)) => count += more,
                Ok(Err(error)) => {
                    return Printed { count, error: Some(Ended::Broken(Failure::output(error))) };
                }
                Err(error) => return Printed { count, error: Some(abandoned(error)) },
            }
        }
        Printed { count, error: None }
    }

    async fn confirm(&mut self, claims: &[Claim]) -> Result<(), Ended> {
        let confirming = self.events.batch_confirm(claims);
        match self.interrupts.finish(confirming).await {
            Ok(Ok(confirmed)) => {
                self.unconfirmed(confirmed.iter().filter(|done| !**done).count());
                Ok(())
            }
            Ok(Err(error)) => {
                self.unconfirmed(claims.len());
                if self.is_open() && is_outage(error.kind()) {
                    Ok(())
                } else {
                    Err(self.broken(error))
                }
            }
            Err(error) => {
                self.unconfirmed(claims.len());
                Err(abandoned(error))
            }
        }
    }

    /// Marks, then prints. A signal waits for the whole batch, because what is not printed is lost.
    async fn mark_and_print(&mut self, events: Vec<Event>) -> Result<(), Ended> {
        let marking = self.events.batch_check_and_mark(&events);
        let new = self.interrupts.finish(marking).await.map_err(abandoned)?;
        let new = new.map_err(|error| self.broken(error))?;
        let mut fresh = Vec::new();
        for (event, new) in events.into_iter().zip(new) {
            self.tally.duplicates += event.repeats + u64::from(!new);
            if new {
                fresh.push(event);
            }
        }
        let mut count = 0;
        let mut ended = Ok(());
        while count < fresh.len() && ended.is_ok() {
            match self.interrupts.finish(self.printer.print(&fresh[count..])).await {
                Ok(Ok(more)) => count += more,
                Ok(Err(error)) => ended = Err(Ended::Broken(Failure::output(error))),
                Err(error) => ended = Err(abandoned(error)),
            }
        }
        self.tally.new += count as u64;
        self.tally.lost += (fresh.len() - count) as u64;
        ended?;
        if self.interrupts.came() { Err(Ended::Interrupted) } else { Ok(()) }
    }

    fn bury(&mut self, bad: &BadLine) -> Result<(), Ended> {
        if let Err(error) = self.dead_letters.push(bad) {
            return Err(Ended::Broken(unburied(&self.dead_letters, error)));
        }
        self.tally.dead_letter(bad);
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.store.config.failure_policy() == tower_inbox::events::FailurePolicy::Open
    }

    fn unconfirmed(&mut self, count: usize) {
        self.tally.unconfirmed += count as u64;
    }

    fn broken(&self, error: EventsError) -> Ended {
        Ended::Broken(self.store.failure(error))
    }
}

/// What claiming some events came to.
struct Batch {
    /// Ours, up to the first that is not.
    new: Vec<(Event, Claim)>,
    duplicates: Vec<Event>,
    /// In flight, and what comes after.
    later: Vec<Event>,
    /// Claims on what comes after.
    released: Vec<Claim>,
    /// Whether the first of the later ones is with somebody else.
    in_flight: bool,
}

impl Batch {
    /// Sorts all events; `claimed` is about the first of them.
    fn new(events: &mut Vec<Event>, claimed: Vec<Claimed>) -> Self {
        let mut batch = Self {
            new: Vec::new(),
            duplicates: Vec::new(),
            later: Vec::new(),
            released: Vec::new(),
            in_flight: false,
        };
        let mut all = std::mem::take(events).into_iter();
        for (claimed, event) in claimed.into_iter().zip(&mut all) {
            match claimed {
                Claimed::Duplicate => batch.duplicates.push(event),
                Claimed::New(claim) if !batch.in_flight => batch.new.push((event, claim)),
                Claimed::New(claim) => {
                    batch.released.push(claim);
                    batch.later.push(event);
                }
                Claimed::InFlight => {
                    batch.in_flight = true;
                    batch.later.push(event);
                }
            }
        }
        batch.later.extend(all);
        batch
    }
}

/// How many lines were printed, and why no more.
struct Printed {
    count: usize,
    error: Option<Ended>,
}

fn abandoned(Abandoned: Abandoned) -> Ended {
    Ended::Interrupted
}
