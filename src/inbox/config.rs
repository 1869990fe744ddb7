use std::sync::Arc;

use tokio::sync::OnceCell;

use super::{
    Window,
    admit::Abandoned,
    known::Known,
    poison::Poison,
    store::{ConsumerId, DuplicateAges, InboxStore, RecordStore},
};
use crate::{
    error::StoreError,
    hook::CommitHook,
    key::{Canonical, InboxKey, KeyHasher, Secret, Xxh64Keyed, probe},
};

/// What happens to a message whose key is absent: every chosen field is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum WithoutKey {
    /// The call fails with [`KeyAbsent`](super::KeyAbsent). The default: a producer that stopped
    /// sending ids is noticed.
    #[default]
    Reject,
    /// The handler runs without a claim, every time. Its hooks see
    /// [`Decision::PassedThrough`](crate::hook::Decision::PassedThrough).
    PassThrough,
}

/// What a layer, its services and their futures share.
pub(super) struct Config<C> {
    pub(super) consumer: Arc<str>,
    pub(super) window: Window,
    pub(super) without_key: WithoutKey,
    pub(super) hooks: Vec<Arc<dyn CommitHook<C>>>,
    /// Where responses and fingerprints are kept, if they are.
    pub(super) records: Option<Arc<dyn RecordStore<Connection = C>>>,
    /// Who counts attempts, if anybody does.
    pub(super) poison: Option<Poison<C>>,
    /// Where the store has the ages of duplicates counted.
    pub(super) ages: DuplicateAges,
    /// Starts of attempts to be taken back. Shared by clones.
    pub(super) abandoned: Arc<Abandoned>,
    pub(super) hasher: Arc<dyn KeyHasher>,
    pub(super) secret: Option<Secret>,
    pub(super) known: Known,
    /// Filled by the first call, or by `prepare`. Shared by clones, replaced by setters that the
    /// registration depends on.
    pub(super) registration: Arc<OnceCell<Registration>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Registration {
    pub(super) consumer: ConsumerId,
    secret: Secret,
}

impl<C: Send + 'static> Config<C> {
    pub(super) fn new(consumer: Arc<str>, ages: DuplicateAges) -> Self {
        Self {
            consumer,
            window: Window::default(),
            without_key: WithoutKey::default(),
            hooks: Vec::new(),
            records: None,
            poison: None,
            ages,
            abandoned: Arc::default(),
            hasher: Arc::new(Xxh64Keyed),
            secret: None,
            known: Known::default(),
            registration: Arc::default(),
        }
    }

    /// Checks the schema and registers the consumer, once.
    pub(super) async fn register<St>(&self, store: &St) -> Result<Registration, StoreError>
    where
        St: InboxStore<Connection = C> + ?Sized,
    {
        let register = || async {
            let meta = store.meta().await?;
            let secret = self.secret.unwrap_or(meta.secret);
            let probe = probe(&*self.hasher, &secret);
            let consumer = store.register(Arc::clone(&self.consumer), self.window, probe).await?;
            Ok(Registration { consumer, secret })
        };
        self.registration.get_or_try_init(register).await.copied()
    }

    pub(super) fn key(&self, canonical: &Canonical, registration: &Registration) -> InboxKey {
        self.hasher.key(canonical.as_bytes(), &registration.secret)
    }
}

impl<C> Clone for Config<C> {
    fn clone(&self) -> Self {
        Self {
            consumer: Arc::clone(&self.consumer),
            window: self.window,
            without_key: self.without_key,
            hooks: self.hooks.clone(),
            records: self.records.clone(),
            poison: self.poison.clone(),
            ages: self.ages.clone(),
            abandoned: Arc::clone(&self.abandoned),
            hasher: Arc::clone(&self.hasher),
            secret: self.secret,
            known: self.known.clone(),
            registration: Arc::clone(&self.registration),
        }
    }
}
