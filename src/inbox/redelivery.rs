//! Delivers again what people requeued.
//!
//! A dead letter that was requeued (`tower-inbox dead requeue`, or
//! [`InboxAdmin::requeue`](super::store::InboxAdmin::requeue)) is free to be handled, and a broker that
//! still has the message may deliver it. The [`Redelivery`] does it from the letter's own payload,
//! through the same stack, so that no broker is needed.

use std::{error::Error, fmt, future::poll_fn, pin::pin, sync::Arc, time::Duration};

use tower_service::Service;

use super::{
    shutdown::stopped,
    store::{Cursor, RedeliveryStore, TakenLetter},
};
use crate::{
    error::{BoxError, StoreError},
    key::InboxKey,
};

/// Delivers the requeued letters of one consumer; nothing runs until its [`run`](Self::run) is
/// spawned.
///
/// The service is the whole stack, with its [`InboxLayer`](super::InboxLayer) of the same consumer.
/// Only letters with a [payload](super::InboxLayer::payload) can be delivered; the closure makes the
/// message out of it again, in such a way that it gets the same key.
///
/// ```
/// use std::{convert::Infallible, time::Duration};
///
/// use sqlx::SqliteConnection;
/// use tower::ServiceBuilder;
/// use tower_inbox::{
///     BoxError, InboxLayer,
///     inbox::{DeadLetterPolicy, Received, SqliteStore, redelivery::Redelivery},
/// };
///
/// type Order = String;
///
/// async fn book(received: Received<Order, SqliteConnection>) -> Result<(), BoxError> {
///     // …
/// #   drop(received);
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// # let store = SqliteStore::in_memory().await?;
/// # store.schema().up().await?;
/// let service = ServiceBuilder::new()
///     .layer(
///         InboxLayer::new("billing", store.clone())
///             .dedup_by(|order: &Order| order.clone())
///             .dead_letters(DeadLetterPolicy::after(5))
///             .payload(|order: &Order| order.clone().into_bytes()),
///     )
///     .service_fn(book);
///
/// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
/// let redelivery = Redelivery::new("billing", store, service, String::from_utf8)
///     .every(Duration::from_secs(10));
/// let task = tokio::spawn(redelivery.run(async { stopped.await.unwrap_or(()) }));
/// // … and on shutdown:
/// drop(stop);
/// task.await?;
/// # Ok(())
/// # }
/// ```
///
/// # What becomes of a letter
///
/// | the call says | the letter |
/// | --- | --- |
/// | `Ok` | is deleted: the message is handled, now or before |
/// | [`DeadLettered`](super::DeadLettered) | is among the dead again |
/// | another error | stays requeued, and is tried again in a later round |
///
/// # Crashes
///
/// The claim decides whether a message takes effect, and the letter whether it is delivered, so a
/// crash at any point loses nothing and repeats nothing within the window. Where starts of attempts
/// are counted ([the default](super::DeadLetterPolicy::count_starts)), the letter even ends in the
/// transaction that handles the message.
///
/// # Many processes
///
/// Each may run one: a letter that one has taken is left alone by the others for as long as it is
/// [held](Self::hold).
///
/// # Cancellation
///
/// Safe to drop at any time; the letter under way is taken again when its time is over.
#[must_use = "spawn the redelivery's `run`, or requeued letters wait"]
pub struct Redelivery<St, S, D> {
    store: St,
    consumer: Arc<str>,
    service: S,
    decode: D,
    every: Duration,
    hold: Duration,
    /// How long a letter rests whose message was not handled.
    pause: Duration,
    /// How far the pass has got.
    place: Option<Cursor>,
}

impl<St, S, D> Redelivery<St, S, D> {
    /// Makes one for the letters of a consumer, which are decoded by a closure and handled by a
    /// service.
    pub fn new(consumer: impl Into<Arc<str>>, store: St, service: S, decode: D) -> Self {
        Self {
            store,
            consumer: consumer.into(),
            service,
            decode,
            every: EVERY,
            hold: HOLD,
            pause: Duration::ZERO,
            place: None,
        }
    }

    /// Sets how long [`run`](Self::run) rests between two passes over the letters, and how long a
    /// letter rests whose message was not handled. Defaults to a minute.
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Sets how long other processes leave a letter alone that this one has taken. Defaults to five
    /// minutes; longer than a handler takes. It is what a letter waits for after a crash. With zero
    /// nobody waits, and the claims alone keep two from handling one message.
    pub fn hold(mut self, hold: Duration) -> Self {
        self.hold = hold;
        self
    }
}

impl<St, S, D, M, E> Redelivery<St, S, D>
where
    St: RedeliveryStore,
    S: Service<M>,
    S::Error: Into<BoxError>,
    D: Fn(Vec<u8>) -> Result<M, E>,
    E: Into<BoxError>,
{
    /// Delivers what is requeued, pass after pass, until `shutdown` resolves; the delivery under way
    /// is finished first.
    ///
    /// Errors are logged (`tracing`, warn), and the next pass tries again.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        self.pause = self.every;
        loop {
            let rest = match self.deliver_next().await {
                Ok(Some(redelivered)) => {
                    redelivered.log(&self.consumer);
                    Duration::ZERO
                }
                Ok(None) => self.every,
                Err(error) => {
                    tracing::warn!(
                        consumer = %self.consumer,
                        error = &error as &dyn Error,
                        "could not look for requeued letters"
                    );
                    self.every
                }
            };
            if stopped(shutdown.as_mut(), rest).await {
                return;
            }
        }
    }

    /// Delivers the next letter of a pass, and says what came of it; `None` at the end of the pass.
    /// Each letter is tried once in a pass.
    ///
    /// For a program that wants to decide itself when, and to hear of each; others spawn
    /// [`run`](Self::run). A letter whose message is not handled is back at once, for the next pass.
    ///
    /// # Errors
    ///
    /// The store's, about letters; what became of the message is in [`Redelivered::result`].
    pub async fn deliver_next(&mut self) -> Result<Option<Redelivered<S::Response>>, StoreError> {
        let (consumer, place) = (Arc::clone(&self.consumer), self.place.take());
        let Some(taken) = self.store.take_letter(consumer, place, self.hold).await? else {
            return Ok(None);
        };
        let TakenLetter { id, payload, next, .. } = taken;
        self.place = Some(next);
        let result = match (self.decode)(payload) {
            Ok(message) => self.deliver(message).await,
            Err(error) => Err(UnreadableLetter(error.into()).into()),
        };
        let ended = match &result {
            Ok(_) => self.store.end_letter(id).await,
            Err(_) => self.store.put_letter_back(id, self.pause).await,
        };
        if let Err(error) = ended {
            // It is taken again when its time is over, and then ends as a duplicate.
            tracing::warn!(
                consumer = %self.consumer,
                key = %id.key,
                error = &error as &dyn Error,
                "could not end a requeued letter"
            );
        }
        Ok(Some(Redelivered { key: id.key, result }))
    }

    async fn deliver(&mut self, message: M) -> Result<S::Response, BoxError> {
        poll_fn(|cx| self.service.poll_ready(cx)).await.map_err(Into::into)?;
        self.service.call(message).await.map_err(Into::into)
    }
}

/// What came of delivering one letter again.
#[derive(Debug)]
#[non_exhaustive]
pub struct Redelivered<R> {
    /// Of which message.
    pub key: InboxKey,
    /// What the stack said, or that it was not asked: [`UnreadableLetter`].
    pub result: Result<R, BoxError>,
}

impl<R> Redelivered<R> {
    fn log(&self, consumer: &str) {
        let key = self.key;
        match &self.result {
            Ok(_) => tracing::info!(consumer, %key, "a requeued message is handled"),
            Err(error) => tracing::warn!(
                consumer,
                %key,
                error = &**error as &dyn Error,
                "a requeued message is not handled"
            ),
        }
    }
}

/// The payload of a letter could not be made into a message again.
///
/// The letter stays requeued: mend the closure, or discard the letter.
#[derive(Debug)]
pub struct UnreadableLetter(BoxError);

impl fmt::Display for UnreadableLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the payload of the requeued letter cannot be read")
    }
}

impl Error for UnreadableLetter {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

impl<St, S, D> fmt::Debug for Redelivery<St, S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redelivery")
            .field("consumer", &self.consumer)
            .field("every", &self.every)
            .field("hold", &self.hold)
            .finish_non_exhaustive()
    }
}

// Somebody has requeued it by hand and may be watching, but the table is read for it each time.
const EVERY: Duration = Duration::from_secs(60);
// Above what a handler takes that has a transaction open.
const HOLD: Duration = Duration::from_secs(5 * 60);
