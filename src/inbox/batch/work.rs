use std::{
    collections::{HashMap, hash_map::Entry},
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use tower_service::Service;

use super::handlers::Handlers;
use crate::{
    error::{BoxError, StoreError, StoreErrorKind},
    hook::{Decision, Delivery},
    inbox::{
        InFlight, InboxTx, KeyAbsent, Outcome, Received, TransactionNotReturned, WithoutKey,
        config::{Config, Registration},
        store::{BatchClaim, BatchStore, BoxTx, Claim, Claimed, ConsumerId, KeyClaimed},
    },
    key::{Canonical, InboxKey},
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

/// A message that is not decided yet; without a key it goes through unclaimed.
#[derive(Clone, Copy)]
struct Item {
    place: usize,
    key: Option<InboxKey>,
}

/// Why a transaction did not commit, as far as the next step depends on it.
enum Failed {
    /// Nothing of it took effect. By itself, each message may fare better.
    RolledBack(BoxError),
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
        canonicals: Vec<Canonical>,
        limit: NonZeroUsize,
    ) -> Vec<Result<Outcome<()>, BoxError>> {
        if canonicals.is_empty() {
            return Vec::new();
        }
        match self.config.register(&*self.store).await {
            Ok(registration) => {
                let (mut items, twins) = self.identify(&canonicals, &registration).await;
                self.recognise(&mut items, registration.consumer).await;
                for part in items.chunks(limit.get()) {
                    self.handle(part, registration.consumer).await;
                }
                self.follow(&twins).await;
            }
            Err(error) => {
                for place in 0..canonicals.len() {
                    self.fail(Item { place, key: None }, error.clone()).await;
                }
            }
        }
        let decided = |outcome: Option<_>| outcome.expect("every message of a batch is decided");
        self.outcomes.into_iter().map(decided).collect()
    }

    /// Makes the keys. Of messages that are the same, the first goes on, and the others come back with
    /// the place of the first.
    async fn identify(
        &mut self,
        canonicals: &[Canonical],
        registration: &Registration,
    ) -> (Vec<Item>, Vec<(Item, usize)>) {
        let (mut items, mut twins) = (Vec::with_capacity(canonicals.len()), Vec::new());
        let mut firsts = HashMap::with_capacity(canonicals.len());
        for (place, canonical) in canonicals.iter().enumerate() {
            let mut item = Item { place, key: None };
            if !canonical.is_absent() {
                let key = self.config.key(canonical, registration);
                item.key = Some(key);
                match firsts.entry(key) {
                    Entry::Occupied(first) => twins.push((item, *first.get())),
                    Entry::Vacant(vacant) => {
                        vacant.insert(place);
                        items.push(item);
                    }
                }
            } else if self.config.without_key == WithoutKey::Reject {
                let rejected = Err(KeyAbsent::new().into());
                self.decide(item, rejected, Decision::Rejected).await;
            } else {
                items.push(item);
            }
        }
        (items, twins)
    }

    /// Takes out what is known to be handled without a claim.
    async fn recognise(&mut self, items: &mut Vec<Item>, consumer: ConsumerId) {
        let keys: Vec<InboxKey> = items.iter().filter_map(|item| item.key).collect();
        let known = match self.config.known.handled_of(consumer, &keys).await {
            Ok(known) => known,
            Err(error) => {
                for item in items.drain(..) {
                    self.fail(item, error.clone()).await;
                }
                return;
            }
        };
        let mut known = known.into_iter();
        for item in std::mem::take(items) {
            if item.key.is_some() && known.next() == Some(true) {
                self.decide(item, Ok(Outcome::Duplicate), Decision::Duplicate).await;
            } else {
                items.push(item);
            }
        }
    }

    /// Handles what is new of a part, in one transaction if that succeeds, and else one by one.
    async fn handle(&mut self, part: &[Item], consumer: ConsumerId) {
        if let [item] = part {
            return self.handle_one(*item, consumer).await;
        }
        // Before the claims: a handler that is not ready is not waited for with a transaction open.
        if self.handlers.make_ready().await.is_err() {
            // Each message gets an error of its own.
            return self.handle_each(part, consumer).await;
        }
        let since = Instant::now();
        let (won, tx) = match self.claim(part, consumer).await {
            Ok(claimed) => claimed,
            Err(error) => {
                for item in part {
                    self.fail(*item, error.clone()).await;
                }
                return;
            }
        };
        let Some(tx) = tx else { return };
        match self.attempt(&won, tx).await {
            Err(Failed::RolledBack(error)) if won.len() > 1 => {
                let (consumer_name, messages) = (&*self.config.consumer, won.len());
                tracing::debug!(
                    consumer = consumer_name, messages, %error,
                    "a batch was rolled back; handling its messages one by one"
                );
                self.handle_each(&won, consumer).await;
            }
            attempt => self.conclude(&won, since, attempt).await,
        }
    }

    async fn handle_each(&mut self, items: &[Item], consumer: ConsumerId) {
        for item in items {
            self.handle_one(*item, consumer).await;
        }
    }

    /// Handles one message in a transaction of its own.
    async fn handle_one(&mut self, item: Item, consumer: ConsumerId) {
        if let Err(error) = self.handlers.make_ready().await {
            return self.fail(item, error).await;
        }
        let since = Instant::now();
        let claimed = match item.key {
            None => self.store.begin().await.map(Claimed::Won),
            Some(key) => {
                let claim = Claim::new(consumer, key, self.config.window, self.wait);
                self.store.claim(claim).await
            }
        };
        match claimed {
            Ok(Claimed::Won(tx)) => {
                let attempt = self.attempt(&[item], tx).await;
                self.conclude(&[item], since, attempt).await;
            }
            Ok(Claimed::Duplicate) => self.answer(item, KeyClaimed::Duplicate).await,
            Ok(Claimed::InFlight) => self.answer(item, KeyClaimed::InFlight).await,
            Err(error) => self.fail(item, error).await,
        }
    }

    /// Claims a part; decides what is not won, and returns the rest with its transaction.
    async fn claim(
        &mut self,
        part: &[Item],
        consumer: ConsumerId,
    ) -> Result<(Vec<Item>, Option<BoxTx<St::Connection>>), StoreError> {
        let keys: Vec<InboxKey> = part.iter().filter_map(|item| item.key).collect();
        let keyless = keys.len() < part.len();
        let (answers, tx) = if keys.is_empty() {
            (Vec::new(), None)
        } else {
            let claim = BatchClaim::new(consumer, keys, self.config.window, self.wait);
            let claimed = self.store.claim_batch(claim).await?;
            (claimed.answers, claimed.tx)
        };
        let tx = match tx {
            None if keyless => Some(self.store.begin().await?),
            tx => tx,
        };
        let mut answers = answers.into_iter();
        let mut won = Vec::with_capacity(part.len());
        for item in part {
            let answer = match item.key {
                Some(_) => answers.next().expect("a store answers every key"),
                None => KeyClaimed::Won,
            };
            match answer {
                KeyClaimed::Won => won.push(*item),
                answer => self.answer(*item, answer).await,
            }
        }
        Ok((won, tx))
    }

    /// Calls the handler, and ends the transaction as it says.
    async fn attempt(&mut self, won: &[Item], tx: BoxTx<St::Connection>) -> Result<(), Failed> {
        let (messages, key) = match won {
            // Nobody will need it again.
            [item] => (self.messages[item.place].take().into_iter().collect(), item.key),
            _ => (won.iter().filter_map(|item| self.messages[item.place].clone()).collect(), None),
        };
        let (tx, home) = InboxTx::new(tx, key);
        let mut handler = self.handlers.take();
        let handled = handler.call(Received::new(messages, tx)).await.map_err(Into::into);
        // Whatever the handler keeps of the transaction comes home.
        drop(handler);
        match (handled, home.take()) {
            (Ok(()), Some(mut tx)) => {
                for item in won {
                    let delivery = self.delivery(*item);
                    let hooked = self.config.before_commit(&delivery, tx.connection_mut()).await;
                    if let Err(error) = hooked {
                        // The hook's error is the news; the drop rolls back if this does not.
                        tx.rollback().await.ok();
                        return Err(Failed::RolledBack(error));
                    }
                }
                tx.commit().await.map_err(|error| match error.kind() {
                    StoreErrorKind::Unreachable => Failed::Unknown(error),
                    _ => Failed::RolledBack(error.into()),
                })
            }
            (Err(error), Some(tx)) => {
                tx.rollback().await.ok();
                Err(Failed::RolledBack(error))
            }
            (Err(error), None) if won.len() == 1 => Err(Failed::RolledBack(error)),
            (_, None) => Err(Failed::NotReturned),
        }
    }

    /// Decides about messages whose transaction has ended for good.
    async fn conclude(&mut self, won: &[Item], since: Instant, attempt: Result<(), Failed>) {
        match attempt {
            Ok(()) => {
                for item in won {
                    let decision = match item.key {
                        Some(key) => {
                            self.config.known.learn(key, since, self.config.window);
                            Decision::Handled
                        }
                        None => Decision::PassedThrough,
                    };
                    self.decide(*item, Ok(Outcome::Handled(())), decision).await;
                }
            }
            Err(Failed::RolledBack(error)) => {
                let mut error = Some(error);
                for item in won {
                    // It has one message: others are tried one by one.
                    if let Some(error) = error.take() {
                        self.fail(*item, error).await;
                    }
                }
            }
            Err(Failed::NotReturned) => {
                for item in won {
                    self.fail(*item, TransactionNotReturned::new()).await;
                }
            }
            Err(Failed::Unknown(error)) => {
                for item in won {
                    let unknown = Err(error.clone().into());
                    self.decide(*item, unknown, Decision::Unknown).await;
                }
            }
        }
    }

    /// Decides about messages that are the same as one before them: handled if that one is, and else
    /// to be delivered again like it.
    async fn follow(&mut self, twins: &[(Item, usize)]) {
        for (item, first) in twins {
            let answer = match self.outcomes[*first] {
                Some(Ok(_)) => KeyClaimed::Duplicate,
                _ => KeyClaimed::InFlight,
            };
            self.answer(*item, answer).await;
        }
    }

    async fn answer(&mut self, item: Item, answer: KeyClaimed) {
        match answer {
            KeyClaimed::Duplicate => {
                self.decide(item, Ok(Outcome::Duplicate), Decision::Duplicate).await;
            }
            _ => self.decide(item, Err(InFlight::new().into()), Decision::InFlight).await,
        }
    }

    async fn fail(&mut self, item: Item, error: impl Into<BoxError>) {
        self.decide(item, Err(error.into()), Decision::Failed).await;
    }

    async fn decide(
        &mut self,
        item: Item,
        outcome: Result<Outcome<()>, BoxError>,
        decision: Decision,
    ) {
        self.outcomes[item.place] = Some(outcome);
        self.config.decided(&self.delivery(item), decision).await;
    }

    fn delivery(&self, item: Item) -> Delivery {
        let key = item.key.map(|key| *key.as_bytes());
        Delivery::new(Arc::clone(&self.config.consumer), key)
    }
}
