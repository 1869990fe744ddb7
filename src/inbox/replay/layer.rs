use std::fmt;

use tower_layer::Layer;

use super::{Oversized, ReplayInbox, ending::Replaying};
use crate::{
    error::StoreError,
    inbox::{InboxLayer, store::InboxStore},
};

/// Makes a message that is delivered twice take effect once, and answers the second delivery with the
/// response of the first; made by [`InboxLayer::replay`].
#[derive(Clone)]
#[must_use = "a layer does nothing until it is applied"]
pub struct ReplayLayer<St: InboxStore, K, X, Co> {
    inbox: InboxLayer<St, K, X>,
    replaying: Replaying<Co>,
}

impl<St: InboxStore, K, X, Co> ReplayLayer<St, K, X, Co> {
    pub(in crate::inbox) fn new(inbox: InboxLayer<St, K, X>, codec: Co) -> Self {
        let replaying =
            Replaying { codec, max_response: MAX_RESPONSE, oversized: Oversized::default() };
        Self { inbox, replaying }
    }

    /// Sets the largest response that is kept, in encoded bytes. Defaults to 64 KiB.
    pub fn max_response(mut self, bytes: usize) -> Self {
        self.replaying.max_response = bytes;
        self
    }

    /// Sets what happens to a message whose response is larger. Defaults to [`Oversized::Refuse`].
    pub fn oversized(mut self, policy: Oversized) -> Self {
        self.replaying.oversized = policy;
        self
    }

    /// As [`InboxLayer::prepare`].
    ///
    /// # Errors
    ///
    /// Its errors.
    pub async fn prepare(&self) -> Result<(), StoreError>
    where
        St::Connection: Send,
    {
        self.inbox.prepare().await
    }

    /// The layer that claims.
    pub fn get_ref(&self) -> &InboxLayer<St, K, X> {
        &self.inbox
    }
}

impl<S, St, K, X, Co> Layer<S> for ReplayLayer<St, K, X, Co>
where
    St: InboxStore,
    K: Clone,
    X: Clone,
    Co: Clone,
{
    type Service = ReplayInbox<S, St, K, X, Co>;

    fn layer(&self, inner: S) -> Self::Service {
        ReplayInbox { inbox: self.inbox.layer(inner), replaying: self.replaying.clone() }
    }
}

impl<St: InboxStore, K, X: fmt::Debug, Co> fmt::Debug for ReplayLayer<St, K, X, Co> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayLayer")
            .field("inbox", &self.inbox)
            .field("max_response", &self.replaying.max_response)
            .field("oversized", &self.replaying.oversized)
            .finish_non_exhaustive()
    }
}

// Room for what services answer, in a row that PostgreSQL still stores beside the table's others.
const MAX_RESPONSE: usize = 64 * 1024;
