use std::sync::Arc;

use super::{Admission, Admit, Ask, InLease, Settle, Verdict, case::Case};
use crate::{
    error::{BoxError, StoreError},
    hook::BoxFuture,
    inbox::{
        Lease, LeaseLost, Leased,
        ending::Kept,
        store::{Deed, InboxStore, LeaseClaimed, LeaseRequest, Record},
    },
};

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
            let (message, store, mut case) = ask.identify().await?;
            if let Some(answer) = case.recognise().await {
                return answer;
            }
            if let Some(answer) = case.begin().await {
                return answer;
            }
            let lease = match &case.identity {
                None => None,
                Some(identity) => {
                    let (consumer, key) = (identity.consumer, identity.key);
                    match store.lease(LeaseRequest { consumer, key, lease: length, owner }).await {
                        Ok(LeaseClaimed::Granted(grant)) => Some(Lease::new(grant, store)),
                        Ok(LeaseClaimed::Duplicate(earlier)) => {
                            return case.duplicate(earlier).await;
                        }
                        Ok(LeaseClaimed::InFlight) => return case.in_flight().await,
                        Err(error) => return case.failed(error).await,
                    }
                }
            };
            let held = lease.clone();
            case.run();
            let settle: Settle = Box::new(move |verdict| {
                Box::pin(async move {
                    let succeeded = matches!(verdict, Verdict::Handled(_));
                    let ended = match (verdict, held) {
                        (Verdict::Handled(response), Some(lease)) => {
                            match complete(&case, &lease, response).await {
                                Ok(()) => Ok(()),
                                Err(error) => Err(case.fail(error).await),
                            }
                        }
                        (Verdict::Handled(_), None) => Ok(()),
                        (Verdict::Failed(error), lease) => {
                            // The handler's error is the news; a lease that could not be released
                            // runs out.
                            if let Some(lease) = lease {
                                lease.settle(Deed::Release).await.ok();
                            }
                            Err(case.fail(error).await)
                        }
                    };
                    case.settled(succeeded, &ended).await;
                    ended
                })
            });
            Ok(Admission::Handle(Leased::new(message, lease), settle))
        })
    }
}

/// The handler's effects stand, so a response that cannot be kept does not undo anything.
async fn complete<C: Send + 'static>(
    case: &Case<C>,
    lease: &Lease,
    response: Kept,
) -> Result<(), BoxError> {
    let window = case.config.window;
    let response = response.unwrap_or_else(|error| {
        tracing::warn!(error = &*error as &dyn std::error::Error, "could not keep a response");
        None
    });
    let fingerprint = case.identity.as_ref().and_then(|identity| identity.fingerprint);
    let record = Record::new(fingerprint, response);
    let completed: Result<bool, StoreError> = match &case.config.records {
        Some(records) if record != Record::default() => {
            records.complete_with(lease.grant(), window, record).await
        }
        _ => lease.settle(Deed::Complete(window)).await,
    };
    if !completed? {
        return Err(LeaseLost::new().into());
    }
    case.forget().await;
    Ok(())
}
