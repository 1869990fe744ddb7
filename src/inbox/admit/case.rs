use std::{sync::Arc, time::Instant};

use super::{Admission, identity::Identity, start::Start};
use crate::{
    error::{BoxError, StoreError, StoreErrorKind},
    hook::{Decision, Delivery},
    inbox::{
        DeadLettered, InFlight, KeyReused, LeaseLost,
        config::Config,
        known::Sighting,
        span,
        store::{Buried, Earlier, Record},
    },
    telemetry,
};

/// One delivery on its way to a decision.
pub(in crate::inbox) struct Case<C> {
    pub(in crate::inbox) config: Arc<Config<C>>,
    pub(in crate::inbox) delivery: Delivery,
    /// Absent for a message that goes through without a key.
    pub(in crate::inbox) identity: Option<Identity>,
    /// Whether the start of this attempt was counted.
    pub(in crate::inbox) begun: bool,
    /// The same, until the handler has the message.
    pub(super) start: Option<Start>,
    /// When it came; before its claim, if it gets that far.
    since: Instant,
}

impl<C: Send + 'static> Case<C> {
    pub(in crate::inbox) fn new(config: Arc<Config<C>>, identity: Option<Identity>) -> Self {
        let key = identity.as_ref().map(|identity| *identity.key.as_bytes());
        let delivery = Delivery::new(Arc::clone(&config.consumer), key);
        Self { config, delivery, identity, begun: false, start: None, since: Instant::now() }
    }

    /// Answers without a claim, if the message is known to be handled.
    pub(in crate::inbox) async fn recognise<R>(&self) -> Option<Result<Admission<R>, BoxError>> {
        let identity = self.identity.as_ref()?;
        match self.config.known.look(identity.consumer, identity.key).await {
            Ok(sighting) => Some(self.seen(sighting?).await),
            Err(error) => Some(self.failed(error).await),
        }
    }

    pub(in crate::inbox) async fn seen<R>(
        &self,
        sighting: Sighting,
    ) -> Result<Admission<R>, BoxError> {
        match sighting {
            Sighting::Read(earlier) => self.duplicate(earlier).await,
            // We saw its handler succeed, so it is no dead letter.
            Sighting::Remembered(earlier) => {
                telemetry::remembered(&self.delivery.consumer);
                let looked_back = self.compare().await;
                self.recognised(earlier, looked_back).await
            }
        }
    }

    /// The message was handled before: so was a dead letter, in a way, and what came under the same
    /// key may say something else.
    pub(in crate::inbox) async fn duplicate<R>(
        &self,
        earlier: Earlier,
    ) -> Result<Admission<R>, BoxError> {
        self.withdraw().await;
        let looked_back = self.look_back().await;
        self.recognised(earlier, looked_back).await
    }

    async fn recognised<R>(
        &self,
        earlier: Earlier,
        looked_back: Result<Option<Record>, BoxError>,
    ) -> Result<Admission<R>, BoxError> {
        match looked_back {
            Ok(record) => {
                if let (Some(identity), Some(age)) = (&self.identity, earlier.age) {
                    self.config.ages.note(identity.consumer, age);
                    telemetry::duplicate_age(&self.delivery.consumer, age);
                }
                self.decided(Decision::Duplicate).await;
                Ok(Admission::Duplicate(record))
            }
            Err(error) => {
                let in_flight = error.is::<InFlight>();
                let decision = if in_flight { Decision::InFlight } else { decision(&error) };
                self.decided(decision).await;
                Err(error)
            }
        }
    }

    pub(in crate::inbox) async fn in_flight<R>(&self) -> Result<Admission<R>, BoxError> {
        self.withdraw().await;
        self.decided(Decision::InFlight).await;
        Err(InFlight::new().into())
    }

    /// The store could not answer; the handler does not run.
    pub(in crate::inbox) async fn failed<R>(
        &self,
        error: StoreError,
    ) -> Result<Admission<R>, BoxError> {
        self.withdraw().await;
        self.decided(Decision::Failed).await;
        Err(error.into())
    }

    /// Writes what belongs into the transaction beside the handler's own writes.
    pub(in crate::inbox) async fn before_commit(
        &self,
        connection: &mut C,
        response: Option<Vec<u8>>,
    ) -> Result<(), BoxError> {
        if let Some(identity) = &self.identity {
            let Identity { consumer, key, fingerprint, .. } = *identity;
            let record = Record::new(fingerprint, response);
            if let Some(records) = &self.config.records
                && record != Record::default()
            {
                records.keep(connection, consumer, key, record).await?;
            }
            if let Some(poison) = &self.config.poison
                && self.begun
            {
                poison.store.forget_attempts(connection, consumer, key).await?;
            }
        }
        for hook in &self.config.hooks {
            hook.before_commit(&self.delivery, connection).await?;
        }
        Ok(())
    }

    /// Tells the hooks how a delivery ended whose handler ran; `succeeded` is about the handler.
    pub(in crate::inbox) async fn settled(&self, succeeded: bool, ended: &Result<(), BoxError>) {
        let decision = match ended {
            Ok(()) if self.identity.is_none() => Decision::PassedThrough,
            Ok(()) => {
                self.learn();
                Decision::Handled
            }
            Err(error) if succeeded && is_unknown(error) => Decision::Unknown,
            Err(error) => decision(error),
        };
        self.decided(decision).await;
    }

    fn learn(&self) {
        if let Some(identity) = &self.identity {
            self.config.known.learn(identity.key, self.since, self.config.window);
        }
    }

    pub(in crate::inbox) async fn decided(&self, decision: Decision) {
        tracing::trace!(consumer = %self.delivery.consumer, decision = decision.as_str(), "decided");
        span::decision(decision);
        telemetry::decided(&self.delivery.consumer, decision);
        for hook in &self.config.hooks {
            hook.decided(&self.delivery, decision).await;
        }
    }

    /// What was kept of the first handling; an error if that was a burial, or said something else.
    async fn look_back(&self) -> Result<Option<Record>, BoxError> {
        if let Some(Identity { consumer, key, .. }) = self.identity
            && let Some(poison) = &self.config.poison
        {
            match poison.store.buried(consumer, key).await? {
                Buried::No => {}
                Buried::Dead(attempts) => return Err(DeadLettered::new(attempts, None).into()),
                // Neither a duplicate nor dead: nobody has handled it.
                Buried::Freed => return Err(InFlight::new().into()),
            }
        }
        self.compare().await
    }

    /// The same, where it was no burial.
    async fn compare(&self) -> Result<Option<Record>, BoxError> {
        let Some(identity) = &self.identity else { return Ok(None) };
        let Identity { consumer, key, fingerprint, .. } = *identity;
        let Some(records) = &self.config.records else { return Ok(None) };
        let record = records.kept(consumer, key).await?;
        let first = record.as_ref().and_then(|record| record.fingerprint);
        match (first, fingerprint) {
            (Some(first), Some(this)) if first != this => Err(KeyReused::new().into()),
            _ => Ok(record),
        }
    }
}

fn decision(error: &BoxError) -> Decision {
    if error.is::<DeadLettered>() {
        Decision::DeadLettered
    } else if error.is::<KeyReused>() {
        Decision::KeyReused
    } else {
        Decision::Failed
    }
}

/// Whether the work of a handler that succeeded may stand in spite of the error.
fn is_unknown(error: &BoxError) -> bool {
    error.is::<LeaseLost>()
        || error
            .downcast_ref::<StoreError>()
            .is_some_and(|error| error.kind() == StoreErrorKind::Unreachable)
}
