use std::{fmt, sync::Arc, time::Duration};

use super::{ConsumerId, Cursor};
use crate::{error::StoreError, hook::BoxFuture, key::InboxKey};

/// Gives out the letters that were requeued; driven by a
/// [`Redelivery`](crate::inbox::redelivery::Redelivery).
///
/// # Contract
///
/// A letter that was taken is not given to anybody else for as long as it is held. That keeps
/// processes from doing the same work; that the message takes effect once is up to its claim.
///
/// # Cancellation
///
/// As for [`InboxStore`](super::InboxStore). A letter that was taken and neither ended nor put back is
/// given out again after its time.
pub trait RedeliveryStore: Send + Sync {
    /// Takes the letter of a consumer that was requeued first, has a payload and is held by nobody.
    ///
    /// One pass over the letters begins with `None` and goes on after the letter before, whatever
    /// became of that one. A consumer that is not registered has no letters.
    fn take_letter(
        &self,
        consumer: Arc<str>,
        after: Option<Cursor>,
        hold: Duration,
    ) -> BoxFuture<'static, Result<Option<TakenLetter>, StoreError>>;

    /// Deletes a letter whose message is handled. One that died again since, or is gone already, is
    /// left as it is.
    fn end_letter(&self, letter: LetterId) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Gives a letter back whose message was not handled, to be taken again after a pause.
    fn put_letter_back(
        &self,
        letter: LetterId,
        pause: Duration,
    ) -> BoxFuture<'static, Result<(), StoreError>>;
}

/// A letter that was taken to be delivered again.
#[derive(Clone)]
#[non_exhaustive]
pub struct TakenLetter {
    /// Which one.
    pub id: LetterId,
    /// The message as its layer wrote it down.
    pub payload: Vec<u8>,
    /// Where the pass goes on.
    pub next: Cursor,
}

impl TakenLetter {
    /// Hands a letter out; for stores.
    pub const fn new(id: LetterId, payload: Vec<u8>, next: Cursor) -> Self {
        Self { id, payload, next }
    }
}

impl fmt::Debug for TakenLetter {
    /// Payloads may hold what does not belong into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TakenLetter").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Names a letter, and which of its deaths it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LetterId {
    /// Of which consumer.
    pub consumer: ConsumerId,
    /// Of which message.
    pub key: InboxKey,
    /// How often it had died.
    pub deaths: u32,
}

impl LetterId {
    /// Names a letter; for stores.
    pub const fn new(consumer: ConsumerId, key: InboxKey, deaths: u32) -> Self {
        Self { consumer, key, deaths }
    }
}

macro_rules! forward {
    ($($pointer:ident)*) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<St: RedeliveryStore + ?Sized> RedeliveryStore for $pointer<St> {
            fn take_letter(
                &self,
                consumer: Arc<str>,
                after: Option<Cursor>,
                hold: Duration,
            ) -> BoxFuture<'static, Result<Option<TakenLetter>, StoreError>> {
                (**self).take_letter(consumer, after, hold)
            }

            fn end_letter(&self, letter: LetterId) -> BoxFuture<'static, Result<(), StoreError>> {
                (**self).end_letter(letter)
            }

            fn put_letter_back(
                &self,
                letter: LetterId,
                pause: Duration,
            ) -> BoxFuture<'static, Result<(), StoreError>> {
                (**self).put_letter_back(letter, pause)
            }
        }
    )*};
}

forward!(Arc Box);

const _: fn(&dyn RedeliveryStore) = |_| {};
