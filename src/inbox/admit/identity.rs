use std::sync::Arc;

use super::{Ask, case::Case};
use crate::{
    error::BoxError,
    hook::Decision,
    inbox::{
        KeyAbsent, KeySource, WithoutKey,
        config::{Config, Registration},
        span,
        store::{ConsumerId, InboxStore},
    },
    key::{Canonical, Fingerprint, InboxKey},
};

/// What makes a message the same message again, and what to keep of it.
pub(in crate::inbox) struct Identity {
    pub(in crate::inbox) consumer: ConsumerId,
    pub(in crate::inbox) key: InboxKey,
    pub(in crate::inbox) fingerprint: Option<Fingerprint>,
    pub(in crate::inbox) payload: Option<Vec<u8>>,
}

/// What has to be known of a message before the handler takes it.
#[allow(unnameable_types, unreachable_pub)] // named by `Ask`
pub struct Marks {
    canonical: Canonical,
    fingerprint: Option<Fingerprint>,
    payload: Option<Vec<u8>>,
}

impl Marks {
    pub(in crate::inbox) fn of<M, K, C>(message: &M, source: &K, config: &Config<C>) -> Self
    where
        K: KeySource<M>,
    {
        Self {
            canonical: source.canonical(message),
            fingerprint: source.fingerprint(message),
            payload: config.poison.as_ref().and_then(|_| source.payload(message)),
        }
    }

    /// Makes the key; `None` for a message that has nothing to make it of.
    fn identity<C: Send + 'static>(
        self,
        config: &Config<C>,
        registration: &Registration,
    ) -> Option<Identity> {
        if self.canonical.is_absent() {
            return None;
        }
        let Self { canonical, fingerprint, payload } = self;
        let key = config.key(&canonical, registration);
        Some(Identity { consumer: registration.consumer, key, fingerprint, payload })
    }
}

impl<C: Send + 'static> Case<C> {
    /// Opens the case of a message. One that goes through without a key has no identity.
    pub(in crate::inbox) async fn open(
        config: Arc<Config<C>>,
        registration: &Registration,
        marks: Marks,
    ) -> Result<Self, BoxError> {
        let identity = marks.identity(&config, registration);
        let rejected = identity.is_none() && config.without_key == WithoutKey::Reject;
        let case = Self::new(config, identity);
        if rejected {
            case.decided(Decision::Rejected).await;
            return Err(KeyAbsent::new().into());
        }
        Ok(case)
    }
}

impl<M, St: InboxStore> Ask<M, St> {
    /// Registers the consumer if nobody has, and opens the case of the message.
    pub(in crate::inbox) async fn identify(
        self,
    ) -> Result<(M, Arc<St>, Case<St::Connection>), BoxError> {
        let Self { message, marks, config, store } = self;
        let registration = match config.register(&*store).await {
            Ok(registration) => registration,
            Err(error) => {
                Case::new(config, None).decided(Decision::Failed).await;
                return Err(error.into());
            }
        };
        let case = Case::open(config, &registration, marks).await?;
        if let Some(identity) = &case.identity {
            span::key(identity.key);
        }
        Ok((message, store, case))
    }
}
