use std::{sync::Arc, time::Duration};

use super::{
    InFlight, InboxTx, KeyAbsent, Lease, LeaseLost, Leased, Received, TransactionNotReturned,
    Window, WithoutKey,
    config::{Config, Registration},
    store::{Claim, Claimed, Deed, InboxStore, LeaseClaimed, LeaseRequest},
};
use crate::{
    error::{BoxError, StoreError, StoreErrorKind},
    hook::{BoxFuture, Decision, Delivery},
    key::{Canonical, InboxKey},
};

/// How a layer holds the claim while the handler works: [`InTransaction`] or [`InLease`].
///
/// Sealed: the two ways are complete by nature.
pub trait Mode<M, St: InboxStore>: Admit<M, St> {}

/// The claim, the handler's writes and their commit are one transaction. The default.
#[derive(Debug, Clone, Copy)]
pub struct InTransaction {
    pub(super) wait: Duration,
}

/// The claim is a lease; for handlers whose effects are elsewhere.
#[derive(Debug, Clone)]
pub struct InLease {
    pub(super) lease: Window,
    pub(super) owner: Arc<str>,
}

impl<M: Send + 'static, St: InboxStore + 'static> Mode<M, St> for InTransaction {}
impl<M: Send + 'static, St: InboxStore + 'static> Mode<M, St> for InLease {}

/// Decides about a delivery before the handler sees it.
pub trait Admit<M, St: InboxStore> {
    /// What the inner service is called with.
    type Request;

    #[doc(hidden)]
    fn admit(
        &self,
        ask: Ask<M, St>,
    ) -> BoxFuture<'static, Result<Admission<Self::Request>, BoxError>>;
}

/// One delivery and all that is needed to decide about it.
#[doc(hidden)]
#[allow(missing_debug_implementations, unnameable_types)]
pub struct Ask<M, St: InboxStore> {
    pub(super) message: M,
    pub(super) canonical: Canonical,
    pub(super) config: Arc<Config<St::Connection>>,
    pub(super) store: Arc<St>,
}

/// The decision: hand `request` to the handler and `settle` what comes back, or don't.
#[doc(hidden)]
#[allow(missing_debug_implementations, unnameable_types)]
pub enum Admission<R> {
    Handle(R, Settle),
    Duplicate,
}

/// Ends a delivery; told whether the handler succeeded. Dropping it instead undoes the claim, or
/// leaves it to its lease.
#[doc(hidden)]
#[allow(unreachable_pub)] // named by `Admission`
pub type Settle = Box<dyn FnOnce(bool) -> BoxFuture<'static, Result<(), BoxError>> + Send>;

impl<M, St> Admit<M, St> for InTransaction
where
    M: Send + 'static,
    St: InboxStore + 'static,
{
    type Request = Received<M, St::Connection>;

    fn admit(
        &self,
        ask: Ask<M, St>,
    ) -> BoxFuture<'static, Result<Admission<Self::Request>, BoxError>> {
        let wait = self.wait;
        Box::pin(async move {
            let (message, store, config, asked) = ask.identify().await?;
            let key = asked.as_ref().map(|(key, _)| *key);
            let (delivery, tx) = match asked {
                None => {
                    let delivery = Delivery::new(Arc::clone(&config.consumer), None);
                    match store.begin().await {
                        Ok(tx) => (delivery, tx),
                        Err(error) => return config.failed(&delivery, error).await,
                    }
                }
                Some((key, Registration { consumer, .. })) => {
                    let delivery = delivery(&config, key);
                    let claim = Claim { consumer, key, window: config.window, wait };
                    match store.claim(claim).await {
                        Ok(Claimed::Won(tx)) => (delivery, tx),
                        Ok(Claimed::Duplicate) => return config.duplicate(&delivery).await,
                        Ok(Claimed::InFlight) => return config.in_flight(&delivery).await,
                        Err(error) => return config.failed(&delivery, error).await,
                    }
                }
            };
            let (tx, home) = InboxTx::new(tx, key);
            let settle: Settle = Box::new(move |succeeded| {
                Box::pin(async move {
                    let ended = match (succeeded, home.take()) {
                        (true, Some(mut tx)) => {
                            match config.before_commit(&delivery, tx.connection_mut()).await {
                                Ok(()) => tx.commit().await.map_err(BoxError::from),
                                Err(error) => {
                                    // The hook's error is the news; the drop rolls back if this
                                    // does not.
                                    tx.rollback().await.ok();
                                    Err(error)
                                }
                            }
                        }
                        (true, None) => Err(TransactionNotReturned::new().into()),
                        (false, Some(tx)) => tx.rollback().await.map_err(BoxError::from),
                        (false, None) => Ok(()),
                    };
                    config.settled(&delivery, succeeded, &ended).await;
                    ended
                })
            });
            Ok(Admission::Handle(Received::new(message, tx), settle))
        })
    }
}

impl<M, St> Admit<M, St> for InLease
where
    M: Send + 'static,
    St: InboxStore + 'static,
{
    type Request = Leased<M>;

    fn admit(
        &self,
        ask: Ask<M, St>,
    ) -> BoxFuture<'static, Result<Admission<Self::Request>, BoxError>> {
        let (length, owner) = (self.lease, Arc::clone(&self.owner));
        Box::pin(async move {
            let (message, store, config, asked) = ask.identify().await?;
            let (delivery, lease) = match asked {
                None => (Delivery::new(Arc::clone(&config.consumer), None), None),
                Some((key, Registration { consumer, .. })) => {
                    let delivery = delivery(&config, key);
                    let request = LeaseRequest { consumer, key, lease: length, owner };
                    match store.lease(request).await {
                        Ok(LeaseClaimed::Granted(grant)) => {
                            (delivery, Some(Lease::new(grant, store)))
                        }
                        Ok(LeaseClaimed::Duplicate) => return config.duplicate(&delivery).await,
                        Ok(LeaseClaimed::InFlight) => return config.in_flight(&delivery).await,
                        Err(error) => return config.failed(&delivery, error).await,
                    }
                }
            };
            let held = lease.clone();
            let settle: Settle = Box::new(move |succeeded| {
                Box::pin(async move {
                    let deed =
                        if succeeded { Deed::Complete(config.window) } else { Deed::Release };
                    let ended = match held {
                        Some(lease) => match lease.settle(deed).await {
                            Ok(false) if succeeded => Err(LeaseLost::new().into()),
                            Ok(_) => Ok(()),
                            Err(error) => Err(error.into()),
                        },
                        None => Ok(()),
                    };
                    config.settled(&delivery, succeeded, &ended).await;
                    ended
                })
            });
            Ok(Admission::Handle(Leased::new(message, lease), settle))
        })
    }
}

type Identified<M, St> =
    (M, Arc<St>, Arc<Config<<St as InboxStore>::Connection>>, Option<(InboxKey, Registration)>);

impl<M, St: InboxStore> Ask<M, St> {
    /// Registers the consumer if nobody has, and makes the key; `None` for a message that goes
    /// through without one.
    async fn identify(self) -> Result<Identified<M, St>, BoxError> {
        let Self { message, canonical, config, store } = self;
        let registration = match config.register(&*store).await {
            Ok(registration) => registration,
            Err(error) => {
                let delivery = Delivery::new(Arc::clone(&config.consumer), None);
                config.decided(&delivery, Decision::Failed).await;
                return Err(error.into());
            }
        };
        if canonical.is_absent() {
            if config.without_key == WithoutKey::Reject {
                let delivery = Delivery::new(Arc::clone(&config.consumer), None);
                config.decided(&delivery, Decision::Rejected).await;
                return Err(KeyAbsent::new().into());
            }
            return Ok((message, store, config, None));
        }
        let key = config.key(&canonical, &registration);
        Ok((message, store, config, Some((key, registration))))
    }
}

impl<C: Send + 'static> Config<C> {
    async fn duplicate<R>(&self, delivery: &Delivery) -> Result<Admission<R>, BoxError> {
        self.decided(delivery, Decision::Duplicate).await;
        Ok(Admission::Duplicate)
    }

    async fn in_flight<R>(&self, delivery: &Delivery) -> Result<Admission<R>, BoxError> {
        self.decided(delivery, Decision::InFlight).await;
        Err(InFlight::new().into())
    }

    async fn failed<R>(
        &self,
        delivery: &Delivery,
        error: impl Into<BoxError>,
    ) -> Result<Admission<R>, BoxError> {
        self.decided(delivery, Decision::Failed).await;
        Err(error.into())
    }

    async fn settled(&self, delivery: &Delivery, succeeded: bool, ended: &Result<(), BoxError>) {
        let decision = match ended {
            Ok(()) if !succeeded => Decision::Failed,
            Ok(()) if delivery.key.is_none() => Decision::PassedThrough,
            Ok(()) => Decision::Handled,
            Err(error) if succeeded && is_unknown(error) => Decision::Unknown,
            Err(_) => Decision::Failed,
        };
        self.decided(delivery, decision).await;
    }

    pub(super) async fn before_commit(
        &self,
        delivery: &Delivery,
        connection: &mut C,
    ) -> Result<(), BoxError> {
        for hook in &self.hooks {
            hook.before_commit(delivery, connection).await?;
        }
        Ok(())
    }

    pub(super) async fn decided(&self, delivery: &Delivery, decision: Decision) {
        tracing::trace!(consumer = %delivery.consumer, ?decision, "decided");
        for hook in &self.hooks {
            hook.decided(delivery, decision).await;
        }
    }
}

fn delivery<C>(config: &Config<C>, key: InboxKey) -> Delivery {
    Delivery::new(Arc::clone(&config.consumer), Some(*key.as_bytes()))
}

/// Whether the work of a handler that succeeded may stand in spite of the error.
fn is_unknown(error: &BoxError) -> bool {
    error.is::<LeaseLost>()
        || error
            .downcast_ref::<StoreError>()
            .is_some_and(|error| error.kind() == StoreErrorKind::Unreachable)
}
