use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use crate::{inbox::store::ConsumerId, key::InboxKey};

/// The start of an attempt that was counted, until the handler has the message.
///
/// A delivery may be dropped on its way to the claim: a timeout around it, a client that left. Then no
/// handler ran, and the start is no attempt; it is noted here, for the next delivery to take it back. A
/// process that dies takes its notes with it, which is what the count is for.
pub(super) struct Start {
    abandoned: Arc<Abandoned>,
    consumer: ConsumerId,
    key: InboxKey,
    armed: AtomicBool,
}

impl Start {
    pub(super) fn new(abandoned: Arc<Abandoned>, consumer: ConsumerId, key: InboxKey) -> Self {
        Self { abandoned, consumer, key, armed: AtomicBool::new(true) }
    }

    /// The handler has the message, or the start was taken back.
    pub(super) fn disarm(&self) {
        self.armed.store(false, Ordering::Relaxed);
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        if *self.armed.get_mut() {
            let mut notes = self.abandoned.0.lock().unwrap_or_else(PoisonError::into_inner);
            notes.push((self.consumer, self.key));
        }
    }
}

/// Starts that are to be taken back.
#[derive(Debug, Default)]
pub(in crate::inbox) struct Abandoned(Mutex<Vec<(ConsumerId, InboxKey)>>);

impl Abandoned {
    /// One at a time: who takes several may be dropped before the last.
    pub(super) fn take(&self) -> Option<(ConsumerId, InboxKey)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}
