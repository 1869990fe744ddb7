use std::sync::Arc;

use super::{Admission, case::Case, identity::Identity, start::Start};
use crate::{
    error::{BoxError, StoreError, StoreErrorKind},
    hook::Decision,
    inbox::{
        DeadLettered, LeaseLost,
        poison::Poison,
        store::{Attempts, Begun, Burial, Failure},
    },
    telemetry,
};

/// Counting the attempts at a message that fails. Whatever goes wrong here is logged and leaves the
/// message to its next delivery.
impl<C: Send + 'static> Case<C> {
    /// Counts the start of the attempt. The answer, if there is one, is the delivery's: the handler
    /// does not run.
    pub(in crate::inbox) async fn begin<R>(&mut self) -> Option<Result<Admission<R>, BoxError>> {
        let (poison, identity) = self.poison()?;
        if !poison.counts_starts() {
            return None;
        }
        while let Some((consumer, key)) = self.config.abandoned.take() {
            if let Err(error) = poison.store.withdraw_attempt(consumer, key).await {
                log(&error);
            }
        }
        let limit = poison.limit();
        match poison.store.begin_attempt(poison.attempt(identity)).await {
            Ok(Begun::Counted(attempts)) => {
                let abandoned = Arc::clone(&self.config.abandoned);
                self.start = Some(Start::new(abandoned, identity.consumer, identity.key));
                self.begun = true;
                if attempts.started <= limit {
                    return None;
                }
                // Whoever ran last neither came back nor is still there.
                let reason = format!("its last attempt did not come back: {attempts}");
                match self.bury(attempts, reason).await {
                    Ok(true) => {
                        self.run();
                        self.begun = false;
                        self.decided(Decision::DeadLettered).await;
                        Some(Err(DeadLettered::new(attempts, None).into()))
                    }
                    Ok(false) => Some(self.in_flight().await),
                    Err(error) => Some(self.failed(error).await),
                }
            }
            Ok(Begun::Handled(earlier)) => Some(self.duplicate(earlier).await),
            Ok(Begun::InFlight) => Some(self.in_flight().await),
            Err(error) => Some(self.failed(error).await),
        }
    }

    /// The handler has the message: from here on, a delivery that is dropped is an attempt that did not
    /// come back.
    pub(in crate::inbox) fn run(&self) {
        if let Some(start) = &self.start {
            start.disarm();
        }
    }

    /// Takes the start back, if it was counted: the handler did not run.
    pub(in crate::inbox) async fn withdraw(&self) {
        let Some((poison, identity)) = self.poison().filter(|_| self.begun) else { return };
        match poison.store.withdraw_attempt(identity.consumer, identity.key).await {
            Ok(()) => self.run(),
            Err(error) => log(&error),
        }
    }

    /// The lease was completed in a transaction of its own; the count goes in another.
    pub(in crate::inbox) async fn forget(&self) {
        let Some((poison, identity)) = self.poison().filter(|_| self.begun) else { return };
        if let Err(error) = poison.store.drop_attempts(identity.consumer, identity.key).await {
            log(&error);
        }
    }

    /// Counts a failure, and buries the message if it was the last. Returns the error that the
    /// caller gets.
    pub(in crate::inbox) async fn fail(&self, error: BoxError) -> BoxError {
        let Some((poison, identity)) = self.poison() else { return error };
        if is_unknown_or_passing(&error) || !poison.counts(&error) {
            self.withdraw().await;
            return error;
        }
        telemetry::attempt_failed(&self.config.consumer);
        let reason = with_causes(&error);
        let failure = Failure::new(identity.consumer, identity.key, reason.clone(), self.begun);
        let attempts = match poison.store.fail_attempt(failure).await {
            Ok(attempts) => attempts,
            Err(failed) => {
                log(&failed);
                return error;
            }
        };
        if attempts.started < poison.limit() {
            return error;
        }
        match self.bury(attempts, reason).await {
            Ok(true) => DeadLettered::new(attempts, Some(error)).into(),
            // Another delivery has it, and decides.
            Ok(false) => error,
            Err(failed) => {
                log(&failed);
                error
            }
        }
    }

    async fn bury(&self, attempts: Attempts, reason: String) -> Result<bool, StoreError> {
        let Some((poison, identity)) = self.poison() else { return Ok(false) };
        let buried = poison
            .store
            .bury(Burial::new(
                identity.consumer,
                identity.key,
                self.config.window,
                attempts,
                reason,
                identity.payload.clone(),
            ))
            .await?;
        if buried {
            telemetry::buried(&self.config.consumer);
            tracing::warn!(
                consumer = %self.config.consumer,
                key = %identity.key,
                %attempts,
                "the message is a dead letter"
            );
        }
        Ok(buried)
    }

    fn poison(&self) -> Option<(&Poison<C>, &Identity)> {
        Some((self.config.poison.as_ref()?, self.identity.as_ref()?))
    }
}

/// Whether the message has nothing to do with it, or may be handled.
fn is_unknown_or_passing(error: &BoxError) -> bool {
    error.is::<LeaseLost>()
        || error.downcast_ref::<StoreError>().is_some_and(|error| {
            matches!(
                error.kind(),
                StoreErrorKind::Unreachable
                    | StoreErrorKind::Busy
                    | StoreErrorKind::Full
                    | StoreErrorKind::ReadOnly
            )
        })
}

/// The error with its causes, on one line for people.
fn with_causes(error: &BoxError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        // Some errors repeat what is below them.
        if !text.contains(&message) {
            text += ": ";
            text += &message;
        }
        cause = error.source();
    }
    text
}

fn log(error: &StoreError) {
    tracing::warn!(error = error as &dyn std::error::Error, "could not count an attempt");
}
