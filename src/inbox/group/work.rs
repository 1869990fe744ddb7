use std::{collections::HashSet, marker::PhantomData, sync::Arc, time::Duration};

use tower_service::Service;
use tracing::Instrument;

use super::{
    call::call,
    item::{Delivery, Item, Job, Ran},
};
use crate::{
    error::{BoxError, StoreError, StoreErrorKind},
    inbox::{
        InboxTx, Outcome, Received, TransactionNotReturned,
        admit::Case,
        config::Config,
        handlers::Handlers,
        store::{BoxTx, Claim, ConsumerId, GroupStore, KeyClaimed},
    },
    key::InboxKey,
};

/// Handles one group of messages after the other.
pub(super) struct Work<M, St: GroupStore, S> {
    store: Arc<St>,
    config: Arc<Config<St::Connection>>,
    handlers: Handlers<S>,
    wait: Duration,
    message: PhantomData<fn(M)>,
}

type Items<M, R, C> = Vec<Item<M, R, C>>;

impl<M, St, S, R, C> Work<M, St, S>
where
    St: GroupStore<Connection = C>,
    S: Service<Received<M, C>, Response = R> + Clone,
    S::Error: Into<BoxError>,
    C: Send + 'static,
{
    pub(super) fn new(store: Arc<St>, config: Arc<Config<C>>, inner: S, wait: Duration) -> Self {
        let handlers = Handlers::unready(inner);
        Self { store, config, handlers, wait, message: PhantomData }
    }

    pub(super) async fn handle(&mut self, jobs: Vec<Job<M, R>>) {
        let registration = match self.config.register(&*self.store).await {
            Ok(registration) => registration,
            Err(error) => {
                for Job { caller, .. } in jobs {
                    let case = Case::new(Arc::clone(&self.config), None);
                    caller.answer(case.failed(error.clone()).await);
                }
                return;
            }
        };
        let mut items = Vec::with_capacity(jobs.len());
        for Job { message, marks, caller } in jobs {
            if caller.reply.is_closed() {
                continue;
            }
            let opening = Case::open(Arc::clone(&self.config), &registration, marks);
            match opening.instrument(caller.span.clone()).await {
                Ok(case) => {
                    items
                        .push(Item { message, delivery: Delivery { case, caller, marked: false } });
                }
                Err(error) => caller.tell(Err(error)),
            }
        }
        // Of equal messages one goes ahead, and the next sees how it ended.
        while !items.is_empty() {
            let mut keys = HashSet::with_capacity(items.len());
            let (distinct, later) = items
                .into_iter()
                .partition(|item| item.delivery.key().is_none_or(|key| keys.insert(key)));
            self.handle_distinct(distinct, registration.consumer).await;
            items = later;
        }
    }

    /// Answers what is known to be handled; handles together what was never tried before, and the rest
    /// one by one.
    async fn handle_distinct(&mut self, items: Items<M, R, C>, consumer: ConsumerId) {
        let mut rest = Vec::with_capacity(items.len());
        for Item { message, delivery } in items {
            let span = delivery.caller.span.clone();
            match delivery.case.recognise().instrument(span).await {
                Some(answer) => delivery.caller.answer(answer),
                None => rest.push(Item { message, delivery }),
            }
        }
        let (new, tried) = self.set_aside(rest, consumer).await;
        self.handle_together(new, consumer).await;
        for mut item in tried {
            if let Some(answer) = item.delivery.case.begin().await {
                item.delivery.caller.answer(answer);
            } else {
                // What is counted for the message alone takes the place of the mark.
                item.delivery.marked = false;
                self.handle_together(vec![item], consumer).await;
            }
        }
    }

    /// Parts what was never tried before from what failed or killed its worker.
    async fn set_aside(
        &mut self,
        mut items: Items<M, R, C>,
        consumer: ConsumerId,
    ) -> (Items<M, R, C>, Items<M, R, C>) {
        let Some(poison) = &self.config.poison else { return (items, Vec::new()) };
        let (store, mark) = (Arc::clone(&poison.store), poison.counts_starts());
        let keys: Vec<InboxKey> = items.iter().filter_map(|item| item.delivery.key()).collect();
        let tried = match store.begin_together(consumer, keys, mark).await {
            Ok(tried) => tried,
            Err(error) => {
                fail_all(items, &error).await;
                return (Vec::new(), Vec::new());
            }
        };
        for item in &mut items {
            item.delivery.marked = mark && item.delivery.key().is_some();
        }
        let mut tried = tried.into_iter();
        items
            .into_iter()
            .partition(|item| item.delivery.key().is_none() || tried.next() != Some(true))
    }

    /// Handles messages in one transaction, one after the other, and commits.
    async fn handle_together(&mut self, items: Items<M, R, C>, consumer: ConsumerId) {
        if items.is_empty() {
            return;
        }
        let mut tx = match self.store.begin().await {
            Ok(tx) => Some(tx),
            Err(error) => return fail_all(items, &error).await,
        };
        let mut ended = Vec::with_capacity(items.len());
        for Item { message, mut delivery } in items {
            let what = match tx.take() {
                Some(open) => {
                    let (what, still_open) = self.run(message, &mut delivery, open).await;
                    tx = still_open;
                    what
                }
                // The transaction broke before it was this one's turn.
                None => Ran::Failed { error: aborted().into(), succeeded: true },
            };
            ended.push((delivery, what));
        }
        let committed = match (tx, kept(&ended)) {
            (Some(tx), None) => tx.rollback().await,
            (Some(tx), Some(marked)) => self.commit(tx, marked, consumer).await,
            (None, _) => Err(aborted()),
        };
        // Not before the transaction has ended: looking back may need its connection.
        for (delivery, what) in ended {
            conclude(delivery, what, &committed).await;
        }
    }

    /// Claims one message, calls its handler, and keeps or undoes what that wrote. Where no transaction
    /// comes back, that of the group is lost.
    async fn run(
        &mut self,
        message: M,
        delivery: &mut Delivery<R, C>,
        mut tx: BoxTx<C>,
    ) -> (Ran<R>, Option<BoxTx<C>>) {
        let lost = |error: StoreError| (Ran::Failed { error: error.into(), succeeded: true }, None);
        // Before the claim, as elsewhere.
        if let Err(error) = self.handlers.make_ready().await {
            return (Ran::Failed { error, succeeded: false }, Some(tx));
        }
        if delivery.caller.reply.is_closed() {
            return (Ran::Abandoned, Some(tx));
        }
        let claim = delivery.case.identity.as_ref().map(|identity| {
            Claim::new(identity.consumer, identity.key, self.config.window, self.wait)
        });
        let answer = self.store.begin_message(tx.connection_mut(), claim).await;
        delivery.caller.timing.claimed();
        match answer {
            Ok(KeyClaimed::Won) => delivery.case.run(),
            Ok(answer) => return (Ran::NotWon(answer), Some(tx)),
            Err(error) => return lost(error),
        }
        let (tx, home) = InboxTx::new(tx, delivery.key());
        let handler = self.handlers.take();
        let what = call(handler, Received::new(message, tx), &mut delivery.caller).await;
        delivery.caller.timing.handled();
        let Some(mut tx) = home.take() else {
            let what = match what {
                Ran::Handled(_) => {
                    Ran::Failed { error: TransactionNotReturned::new().into(), succeeded: true }
                }
                what => what,
            };
            return (what, None);
        };
        let Ran::Handled(response) = what else { return self.undo(what, tx).await };
        let writing = delivery.case.before_commit(tx.connection_mut(), None);
        if let Err(error) = writing.instrument(delivery.caller.span.clone()).await {
            return self.undo(Ran::Failed { error, succeeded: true }, tx).await;
        }
        match self.store.keep_message(tx.connection_mut()).await {
            Ok(()) => (Ran::Handled(response), Some(tx)),
            Err(error) => lost(error),
        }
    }

    /// Goes back to before the message.
    async fn undo(&mut self, what: Ran<R>, mut tx: BoxTx<C>) -> (Ran<R>, Option<BoxTx<C>>) {
        match self.store.undo_message(tx.connection_mut()).await {
            Ok(()) => (what, Some(tx)),
            // What follows in the group fails with it; the news of this message is its own.
            Err(_) => (what, None),
        }
    }

    /// Commits what was kept, and takes the marks of its messages away with it.
    async fn commit(
        &mut self,
        mut tx: BoxTx<C>,
        marked: Vec<InboxKey>,
        consumer: ConsumerId,
    ) -> Result<(), StoreError> {
        if let Some(poison) = &self.config.poison
            && !marked.is_empty()
        {
            let store = Arc::clone(&poison.store);
            store.end_together(tx.connection_mut(), consumer, marked).await?;
        }
        tx.commit().await
    }
}

/// The marked messages among those that shall be committed; `None` if there are none of these.
fn kept<R, C>(ran: &[(Delivery<R, C>, Ran<R>)]) -> Option<Vec<InboxKey>> {
    let mut kept = ran.iter().filter(|(_, what)| matches!(what, Ran::Handled(_))).peekable();
    kept.peek()?;
    Some(
        kept.filter(|(delivery, _)| delivery.marked)
            .filter_map(|(delivery, _)| delivery.key())
            .collect(),
    )
}

/// Tells the caller what became of its message, now that the transaction has ended.
async fn conclude<R, C: Send + 'static>(
    delivery: Delivery<R, C>,
    what: Ran<R>,
    committed: &Result<(), StoreError>,
) {
    let Delivery { case, mut caller, .. } = delivery;
    let span = caller.span.clone();
    let (response, error, succeeded) = match (what, committed) {
        (Ran::Handled(response), Ok(())) => (Some(response), None, true),
        (Ran::Handled(_), Err(error)) => (None, Some(error.clone().into()), true),
        (Ran::Failed { error, succeeded }, _) => (None, Some(error), succeeded),
        (Ran::NotWon(answer), _) => {
            let telling = async {
                match answer {
                    KeyClaimed::Duplicate(earlier) => case.duplicate(earlier).await,
                    KeyClaimed::InFlight | KeyClaimed::Won => case.in_flight().await,
                }
            };
            let answer = telling.instrument(span).await;
            return caller.answer(answer);
        }
        // As if the call's own future had been dropped in a panic.
        (Ran::Panicked(panic), _) => return drop(caller.reply.send(Err(panic))),
        (Ran::Abandoned, _) => return,
    };
    caller.timing.settled();
    let settling = async {
        let ended = match error {
            None => Ok(()),
            Some(error) => Err(case.fail(error).await),
        };
        case.settled(succeeded, &ended).await;
        ended
    };
    let ended = settling.instrument(span).await;
    caller
        .tell(ended.and_then(|()| response.ok_or_else(|| aborted().into())).map(Outcome::Handled));
}

async fn fail_all<M, R, C: Send + 'static>(items: Items<M, R, C>, error: &StoreError) {
    for Item { delivery: Delivery { case, caller, .. }, .. } in items {
        let answer = case.failed(error.clone()).instrument(caller.span.clone()).await;
        caller.answer(answer);
    }
}

fn aborted() -> StoreError {
    StoreError::new(
        StoreErrorKind::Aborted,
        "the transaction of a group of messages had ended before its commit",
    )
}
