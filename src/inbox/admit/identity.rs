use std::sync::Arc;

use super::{Ask, case::Case};
use crate::{
    error::BoxError,
    hook::Decision,
    inbox::{
        KeyAbsent, WithoutKey,
        store::{ConsumerId, InboxStore},
    },
    key::{Fingerprint, InboxKey},
};

/// What makes a message the same message again, and what to keep of it.
pub(super) struct Identity {
    pub(super) consumer: ConsumerId,
    pub(super) key: InboxKey,
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) payload: Option<Vec<u8>>,
}

impl<M, St: InboxStore> Ask<M, St> {
    /// Registers the consumer if nobody has, and makes the key. A message that goes through without
    /// one has no identity.
    pub(super) async fn identify(self) -> Result<(M, Arc<St>, Case<St::Connection>), BoxError> {
        let Self { message, canonical, fingerprint, payload, config, store } = self;
        let registration = match config.register(&*store).await {
            Ok(registration) => registration,
            Err(error) => {
                Case::new(config, None).decided(Decision::Failed).await;
                return Err(error.into());
            }
        };
        if canonical.is_absent() {
            let reject = config.without_key == WithoutKey::Reject;
            let case = Case::new(config, None);
            if reject {
                case.decided(Decision::Rejected).await;
                return Err(KeyAbsent::new().into());
            }
            return Ok((message, store, case));
        }
        let key = config.key(&canonical, &registration);
        let identity = Identity { consumer: registration.consumer, key, fingerprint, payload };
        Ok((message, store, Case::new(config, Some(identity))))
    }
}
