use std::{
    collections::{HashMap, hash_map::Entry},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

use tower_service::Service;

use super::item::{Item, Twin, sort};
use crate::{
    error::{BoxError, StoreError, StoreErrorKind},
    hook::Decision,
    inbox::{
        DeadLettered, InboxTx, KeyReused, Outcome, Received, TransactionNotReturned,
        admit::{Admission, Case, Marks},
        config::{Config, Registration},
        error::from_handler,
        handlers::Handlers,
        store::{
            BatchClaim, BatchClaimed, BatchStore, BoxTx, Claim, Claimed, ConsumerId, Earlier,
            KeyClaimed,
        },
    },
    key::InboxKey,
    telemetry::Timing,
};

/// One batch on its way: each message is decided once, and the outcomes are complete at the end.
pub(super) struct Work<M, St: BatchStore, S> {
    store: Arc<St>,
    config: Arc<Config<St::Connection>>,
    /// Taken by the last call that can need it.
    messages: Vec<Option<M>>,
    handlers: Handlers<S>,
    wait: Duration,
    outcomes: Vec<Option<Result<Outcome<()>, BoxError>>>,
}

/// Why a transaction did not commit, as far as the next step depends on it.
enum Failed {
    /// Nothing of it took effect. By itself, each message may fare better.
    RolledBack { error: BoxError, succeeded: bool },
    /// The handler kept the transaction, which still holds the claims.
    NotReturned,
    /// The connection broke during the commit.
    Unknown(StoreError),
}

impl<M, St, S> Work<M, St, S>
where
    M: Clone,
    St: BatchStore,
    S: Service<Received<Vec<M>, St::Connection>, Response = ()> + Clone,
    S::Error: Into<BoxError>,
{
    pub(super) fn new(
        store: Arc<St>,
        config: Arc<Config<St::Connection>>,
        messages: Vec<M>,
        handlers: Handlers<S>,
        wait: Duration,
    ) -> Self {
        let outcomes = messages.iter().map(|_| None).collect();
        let messages = messages.into_iter().map(Some).collect();
        Self { store, config, messages, handlers, wait, outcomes }
    }

    /// Decides about all messages, in transactions of at most `limit` of them.
    pub(super) async fn run(
        mut self,
        marks: Vec<Marks>,
        limit: NonZeroUsize,
    ) -> Vec<Result<Outcome<()>, BoxError>> {
        if !marks.is_empty() {
            match self.config.register(&*self.store).await {
                Ok(registration) => {
                    let (items, twins) = self.identify(marks, &registration).await;
                    let mut items = self.recognise(items, registration.consumer).await.into_iter();
                    while !items.as_slice().is_empty() {
                        let part = items.by_ref().take(limit.get()).collect();
                        self.handle(part, registration.consumer).await;
                    }
                    self.follow(twins).await;
                }
                Err(error) => {
                    for place in 0..marks.len() {
                        let case = Case::new(Arc::clone(&self.config), None);
                        self.fail(&Item { place, case, marked: false }, error.clone()).await;
                    }
                }
            }
        }
        let decided = |outcome: Option<_>| outcome.expect("every message of a batch is decided");
        self.outcomes.into_iter().map(decided).collect()
    }

    /// Makes the keys, and tells the first of equal messages from the others.
    async fn identify(
        &mut self,
        marks: Vec<Marks>,
        registration: &Registration,
    ) -> (Vec<Item<St::Connection>>, Vec<Twin<St::Connection>>) {
        let (mut items, mut twins) = (Vec::with_capacity(marks.len()), Vec::new());
        let mut firsts = HashMap::with_capacity(marks.len());
        for (place, marks) in marks.into_iter().enumerate() {
            match Case::open(Arc::clone(&self.config), registration, marks).await {
                Ok(case) => {
                    let item = Item { place, case, marked: false };
                    match item.key().map(|key| firsts.entry(key)) {
                        Some(Entry::Occupied(first)) => {
                            twins.push(Twin { item, first: *first.get() });
                        }
                        Some(Entry::Vacant(vacant)) => {
                            vacant.insert(place);
                            items.push(item);
                        }
                        None => items.push(item),
                    }
                }
                Err(error) => self.decide(place, Err(error)),
            }
        }
        (items, twins)
    }

    /// Answers what is known to be handled without a claim, and returns the rest.
    async fn recognise(
        &mut self,
        items: Vec<Item<St::Connection>>,
        consumer: ConsumerId,
    ) -> Vec<Item<St::Connection>> {
        let keys: Vec<InboxKey> = items.iter().filter_map(Item::key).collect();
        let sightings = match self.config.known.look_for_all(consumer, &keys).await {
            Ok(sightings) => sightings,
            Err(error) => {
                self.fail_all(&items, &error).await;
                return Vec::new();
            }
        };
        let mut sightings = sightings.into_iter();
        let mut rest = Vec::with_capacity(items.len());
        for item in items {
            match item.key().and_then(|_| sightings.next().flatten()) {
                Some(sighting) => {
                    let seen = item.case.seen(sighting).await;
                    self.answer(item.place, seen);
                }
                None => rest.push(item),
            }
        }
        rest
    }

    /// Handles what is new of a part: together what was never tried before, and the rest one by one.
    async fn handle(&mut self, part: Vec<Item<St::Connection>>, consumer: ConsumerId) {
        if part.len() == 1 {
            return self.handle_each(part).await;
        }
        let (new, tried) = self.set_aside(part, consumer).await;
        if new.len() <= 1 {
            self.handle_each(new).await;
        } else {
            self.handle_together(new, consumer).await;
        }
        self.handle_each(tried).await;
    }

    /// Parts what was never tried before from what failed or killed its worker. That is handled by
    /// itself at once, so that the others are not rolled back for it again.
    async fn set_aside(
        &mut self,
        part: Vec<Item<St::Connection>>,
        consumer: ConsumerId,
    ) -> (Vec<Item<St::Connection>>, Vec<Item<St::Connection>>) {
        let Some(poison) = &self.config.poison else { return (part, Vec::new()) };
        let (store, mark) = (Arc::clone(&poison.store), poison.counts_starts());
        let keys: Vec<InboxKey> = part.iter().filter_map(Item::key).collect();
        let tried = match store.begin_together(consumer, keys, mark).await {
            Ok(tried) => tried,
            Err(error) => {
                self.fail_all(&part, &error).await;
                return (Vec::new(), Vec::new());
            }
        };
        let mut tried = tried.into_iter();
        part.into_iter()
            .map(|item| Item { marked: mark && item.key().is_some(), ..item })
            .partition(|item| item.key().is_none() || tried.next() != Some(true))
    }

    /// Handles messages in one transaction if that succeeds, and else one by one.
    async fn handle_together(&mut self, items: Vec<Item<St::Connection>>, consumer: ConsumerId) {
        // Before the claims: a handler that is not ready is not waited for with a transaction open.
        // If it never will be, each message gets an error of its own.
        if self.handlers.make_ready().await.is_err() {
            return self.handle_each(items).await;
        }
        let mut timing = Timing::start(&self.config.consumer);
        let claimed = self.claim(&items, consumer).await;
        timing.claimed();
        let claimed = match claimed {
            Ok(claimed) => claimed,
            Err(error) => return self.fail_all(&items, &error).await,
        };
        let (won, others) = sort(items, claimed.answers);
        if let Some(tx) = claimed.tx {
            match self.attempt(&won, tx, timing).await {
                Err(Failed::RolledBack { error, .. }) if won.len() > 1 => {
                    tracing::debug!(
                        consumer = %self.config.consumer,
                        messages = won.len(),
                        error = &*error as &dyn std::error::Error,
                        "the batch was rolled back, and its messages are handled one by one"
                    );
                    self.handle_each(won).await;
                }
                attempt => self.conclude(won, attempt).await,
            }
        }
        // Not before the transaction has ended: looking back may need its connection.
        for (item, answer) in others {
            self.tell(item, answer).await;
        }
    }

    /// Opens a transaction if something is won, or there is something to handle without a claim.
    async fn claim(
        &mut self,
        items: &[Item<St::Connection>],
        consumer: ConsumerId,
    ) -> Result<BatchClaimed<St::Connection>, StoreError> {
        let keys: Vec<InboxKey> = items.iter().filter_map(Item::key).collect();
        let keyless = keys.len() < items.len();
        let mut claimed = if keys.is_empty() {
            BatchClaimed::new(Vec::new(), None)
        } else {
            let claim = BatchClaim::new(consumer, keys, self.config.window, self.wait);
            self.store.claim_batch(claim).await?
        };
        if claimed.tx.is_none() && keyless {
            claimed.tx = Some(self.store.begin().await?);
        }
        Ok(claimed)
    }

    async fn handle_each(&mut self, items: Vec<Item<St::Connection>>) {
        for item in items {
            self.handle_one(item).await;
        }
    }

    /// Handles one message in a transaction of its own.
    async fn handle_one(&mut self, mut item: Item<St::Connection>) {
        if let Err(error) = self.handlers.make_ready().await {
            item.case.decided(Decision::Failed).await;
            return self.decide(item.place, Err(error));
        }
        if let Some(answer) = item.case.begin().await {
            return self.answer(item.place, answer);
        }
        // What is counted for the message alone takes the place of the mark.
        item.marked = false;
        let mut timing = Timing::start(&self.config.consumer);
        let claimed = match &item.case.identity {
            None => self.store.begin().await.map(Claimed::Won),
            Some(identity) => {
                let (consumer, key) = (identity.consumer, identity.key);
                let claim = Claim::new(consumer, key, self.config.window, self.wait);
                self.store.claim(claim).await
            }
        };
        timing.claimed();
        match claimed {
            Ok(Claimed::Won(tx)) => {
                item.case.run();
                let won = vec![item];
                let attempt = self.attempt(&won, tx, timing).await;
                self.conclude(won, attempt).await;
            }
            Ok(Claimed::Duplicate(earlier)) => {
                self.tell(item, KeyClaimed::Duplicate(earlier)).await;
            }
            Ok(Claimed::InFlight) => self.tell(item, KeyClaimed::InFlight).await,
            Err(error) => self.fail(&item, error).await,
        }
    }

    /// Calls the handler, and ends the transaction as it says.
    async fn attempt(
        &mut self,
        won: &[Item<St::Connection>],
        tx: BoxTx<St::Connection>,
        mut timing: Timing,
    ) -> Result<(), Failed> {
        let (handled, home) = self.call(won, tx).await;
        timing.handled();
        let ended = self.end(won, handled, home).await;
        timing.settled();
        ended
    }

    async fn call(
        &mut self,
        won: &[Item<St::Connection>],
        tx: BoxTx<St::Connection>,
    ) -> (Result<(), BoxError>, Option<BoxTx<St::Connection>>) {
        let (messages, key) = match won {
            // Nobody will need it again.
            [item] => (self.messages[item.place].take().into_iter().collect(), item.key()),
            _ => (won.iter().filter_map(|item| self.messages[item.place].clone()).collect(), None),
        };
        let (tx, home) = InboxTx::new(tx, key);
        let mut handler = self.handlers.take();
        let handled = handler.call(Received::new(messages, tx)).await.map_err(from_handler);
        // Whatever the handler keeps of the transaction comes home.
        drop(handler);
        (handled, home.take())
    }

    async fn end(
        &mut self,
        won: &[Item<St::Connection>],
        handled: Result<(), BoxError>,
        tx: Option<BoxTx<St::Connection>>,
    ) -> Result<(), Failed> {
        match (handled, tx) {
            (Ok(()), Some(mut tx)) => {
                if let Err(error) = self.before_commit(won, tx.connection_mut()).await {
                    // This error is the news; the drop rolls back if the rollback fails.
                    tx.rollback().await.ok();
                    return Err(Failed::RolledBack { error, succeeded: true });
                }
                tx.commit().await.map_err(|error| match error.kind() {
                    StoreErrorKind::Unreachable => Failed::Unknown(error),
                    _ => Failed::RolledBack { error: error.into(), succeeded: true },
                })
            }
            (Err(error), Some(tx)) => {
                tx.rollback().await.ok();
                Err(Failed::RolledBack { error, succeeded: false })
            }
            (Err(error), None) if won.len() == 1 => {
                Err(Failed::RolledBack { error, succeeded: false })
            }
            (_, None) => Err(Failed::NotReturned),
        }
    }

    /// Writes what belongs into the transaction beside the handler's own writes.
    async fn before_commit(
        &mut self,
        won: &[Item<St::Connection>],
        connection: &mut St::Connection,
    ) -> Result<(), BoxError> {
        let marked = || won.iter().filter(|item| item.marked);
        if let Some(poison) = &self.config.poison
            && let Some(identity) = marked().find_map(|item| item.case.identity.as_ref())
        {
            let (store, consumer) = (Arc::clone(&poison.store), identity.consumer);
            let keys = marked().filter_map(Item::key).collect();
            store.end_together(connection, consumer, keys).await?;
        }
        for item in won {
            item.case.before_commit(connection, None).await?;
        }
        Ok(())
    }

    /// Decides about messages whose transaction has ended for good.
    async fn conclude(&mut self, won: Vec<Item<St::Connection>>, attempt: Result<(), Failed>) {
        match attempt {
            Ok(()) => {
                for item in won {
                    self.settle(item, true, Ok(())).await;
                }
            }
            Err(Failed::Unknown(error)) => {
                self.settle_all(won, || error.clone().into()).await;
            }
            // Somebody still has the transaction, and with it the connection that counting may need.
            Err(Failed::NotReturned) => {
                for item in won {
                    let error = TransactionNotReturned::new().into();
                    self.settle(item, true, Err(error)).await;
                }
            }
            // It is one message: of more, each was tried by itself.
            Err(Failed::RolledBack { error, succeeded }) => {
                if let Some(item) = won.into_iter().next() {
                    let error = item.case.fail(error).await;
                    self.settle(item, succeeded, Err(error)).await;
                }
            }
        }
    }

    /// Decides about messages whose handler succeeded, but not their transaction.
    async fn settle_all(&mut self, won: Vec<Item<St::Connection>>, error: impl Fn() -> BoxError) {
        let alone = won.len() == 1;
        for item in won {
            let mut error = error();
            // Which of many messages it was is not known, and none of them is counted as failed.
            if alone {
                error = item.case.fail(error).await;
            }
            self.settle(item, true, Err(error)).await;
        }
    }

    async fn settle(
        &mut self,
        item: Item<St::Connection>,
        succeeded: bool,
        ended: Result<(), BoxError>,
    ) {
        item.case.settled(succeeded, &ended).await;
        self.decide(item.place, ended.map(Outcome::Handled));
    }

    /// Decides about messages that equal one before them: like duplicates of it if that one is
    /// settled, and else to be delivered again with it.
    async fn follow(&mut self, twins: Vec<Twin<St::Connection>>) {
        for Twin { item, first } in twins {
            let settled = match &self.outcomes[first] {
                Some(Ok(_)) => true,
                Some(Err(error)) => error.is::<DeadLettered>() || error.is::<KeyReused>(),
                None => false,
            };
            let answer = if settled {
                KeyClaimed::Duplicate(Earlier::ago(Duration::ZERO))
            } else {
                KeyClaimed::InFlight
            };
            self.tell(item, answer).await;
        }
    }

    /// Decides about a message that was not won.
    async fn tell(&mut self, item: Item<St::Connection>, answer: KeyClaimed) {
        let answer = match answer {
            KeyClaimed::Duplicate(earlier) => item.case.duplicate(earlier).await,
            KeyClaimed::InFlight | KeyClaimed::Won => item.case.in_flight().await,
        };
        self.answer(item.place, answer);
    }

    async fn fail_all(&mut self, items: &[Item<St::Connection>], error: &StoreError) {
        for item in items {
            self.fail(item, error.clone()).await;
        }
    }

    async fn fail(&mut self, item: &Item<St::Connection>, error: StoreError) {
        let answer = item.case.failed(error).await;
        self.answer(item.place, answer);
    }

    fn answer(&mut self, place: usize, answer: Result<Admission<()>, BoxError>) {
        // Nothing in here is told to handle a message by its answer.
        self.decide(place, answer.map(|_| Outcome::Duplicate));
    }

    fn decide(&mut self, place: usize, outcome: Result<Outcome<()>, BoxError>) {
        self.outcomes[place] = Some(outcome);
    }
}
