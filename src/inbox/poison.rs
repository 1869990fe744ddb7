use std::{error::Error, fmt, num::NonZeroU32, sync::Arc, time::Duration};

use super::{
    admit::Identity,
    store::{Attempt, PoisonStore},
};
use crate::error::BoxError;

/// When to give up on a message that keeps failing; for
/// [`InboxLayer::dead_letters`](super::InboxLayer::dead_letters).
///
/// ```
/// use tower_inbox::inbox::DeadLetterPolicy;
///
/// let policy = DeadLetterPolicy::after(5);
/// ```
///
/// # Batches
///
/// What messages of a [batch](super::BatchInboxLayer) come to together is no single one's fault, and is
/// not counted: after a failure each is tried by itself, and that is. A message that failed or did not
/// come back before, alone or together with others, is not put together with others again.
#[derive(Clone)]
#[must_use]
pub struct DeadLetterPolicy {
    limit: NonZeroU32,
    starts: bool,
    presumed_dead_after: Duration,
    except: Arc<Except>,
}

type Except = dyn Fn(&(dyn Error + 'static)) -> bool + Send + Sync;

impl DeadLetterPolicy {
    /// Gives up after so many attempts.
    ///
    /// # Panics
    ///
    /// If it is zero.
    #[track_caller]
    pub fn after(attempts: u32) -> Self {
        let limit = NonZeroU32::new(attempts).expect("a message is tried at least once");
        Self {
            limit,
            starts: true,
            presumed_dead_after: PRESUMED_DEAD_AFTER,
            except: Arc::new(|_| false),
        }
    }

    /// Whether to count the start of an attempt, too. Defaults to `true`.
    ///
    /// An attempt that took its whole process down (out of memory, a stack overflow, an abort) comes
    /// back to nobody; only its start shows. Counting it costs two short statements per message, one
    /// in a transaction of its own before the claim, and on SQLite a second sync of the file.
    ///
    /// With `false` a message that is handled costs nothing more, a message that fails is counted
    /// afterwards, and one that kills its workers is delivered again for as long as the broker likes.
    /// The count of failures is then not removed by a success but a day after the last one.
    pub fn count_starts(mut self, starts: bool) -> Self {
        self.starts = starts;
        self
    }

    /// Sets how long after its last start a message is given up on whose attempts did not come back.
    /// Defaults to a minute.
    ///
    /// Until then its deliveries are in flight: several that overlap, waiting for a connection, are
    /// not taken for workers that died. Make it longer than the pool lets them wait. Counted in whole
    /// seconds; zero gives up at once.
    pub fn presumed_dead_after(mut self, time: Duration) -> Self {
        self.presumed_dead_after = time;
        self
    }

    /// Does not count errors for which the closure says `true`. Counts all by default.
    ///
    /// For what is not the message's fault: while a service that every handler needs is down, every
    /// message fails, and without this all of them become dead letters. A store that is
    /// [busy](crate::error::StoreErrorKind::Busy) or cannot be reached never counts.
    pub fn except<F>(mut self, not_counted: F) -> Self
    where
        F: Fn(&(dyn Error + 'static)) -> bool + Send + Sync + 'static,
    {
        self.except = Arc::new(not_counted);
        self
    }
}

impl fmt::Debug for DeadLetterPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetterPolicy")
            .field("limit", &self.limit)
            .field("starts", &self.starts)
            .finish_non_exhaustive()
    }
}

/// The policy and the store that counts.
pub(super) struct Poison<C> {
    pub(super) store: Arc<dyn PoisonStore<Connection = C>>,
    policy: DeadLetterPolicy,
}

impl<C> Poison<C> {
    pub(super) fn new(
        store: Arc<dyn PoisonStore<Connection = C>>,
        policy: DeadLetterPolicy,
    ) -> Self {
        Self { store, policy }
    }

    pub(super) fn limit(&self) -> u32 {
        self.policy.limit.get()
    }

    pub(super) fn attempt(&self, identity: &Identity) -> Attempt {
        let after = self.policy.presumed_dead_after;
        Attempt::new(identity.consumer, identity.key, self.limit(), after)
    }

    pub(super) fn counts_starts(&self) -> bool {
        self.policy.starts
    }

    pub(super) fn counts(&self, error: &BoxError) -> bool {
        !(self.policy.except)(&**error)
    }
}

impl<C> Clone for Poison<C> {
    fn clone(&self) -> Self {
        Self { store: Arc::clone(&self.store), policy: self.policy.clone() }
    }
}

impl<C> fmt::Debug for Poison<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poison").field("policy", &self.policy).finish_non_exhaustive()
    }
}

// Twice what sqlx's pools let a delivery wait for a connection.
const PRESUMED_DEAD_AFTER: Duration = Duration::from_secs(60);
