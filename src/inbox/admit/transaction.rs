use super::{Admission, Admit, Ask, InTransaction, Settle, Verdict, case::Case};
use crate::{
    error::BoxError,
    hook::BoxFuture,
    inbox::{
        InboxTx, Received, TransactionNotReturned,
        ending::Kept,
        store::{BoxTx, Claim, Claimed, InboxStore},
    },
};

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
            let (message, store, mut case) = ask.identify().await?;
            if let Some(answer) = case.recognise().await {
                return answer;
            }
            if let Some(answer) = case.begin().await {
                return answer;
            }
            let key = case.identity.as_ref().map(|identity| identity.key);
            let tx = match &case.identity {
                None => match store.begin().await {
                    Ok(tx) => tx,
                    Err(error) => return case.failed(error).await,
                },
                Some(identity) => {
                    let window = case.config.window;
                    let claim =
                        Claim { consumer: identity.consumer, key: identity.key, window, wait };
                    match store.claim(claim).await {
                        Ok(Claimed::Won(tx)) => tx,
                        Ok(Claimed::Duplicate(earlier)) => return case.duplicate(earlier).await,
                        Ok(Claimed::InFlight) => return case.in_flight().await,
                        Err(error) => return case.failed(error).await,
                    }
                }
            };
            let (tx, home) = InboxTx::new(tx, key);
            case.run();
            let settle: Settle = Box::new(move |verdict| {
                Box::pin(async move {
                    let succeeded = matches!(verdict, Verdict::Handled(_));
                    let ended = match (verdict, home.take()) {
                        (Verdict::Handled(response), Some(tx)) => {
                            match commit(&case, tx, response).await {
                                Ok(()) => Ok(()),
                                Err(error) => Err(case.fail(error).await),
                            }
                        }
                        (Verdict::Failed(error), Some(tx)) => {
                            // The handler's error is the news; a failed rollback follows from the
                            // same cause, and the drop mends it.
                            tx.rollback().await.ok();
                            Err(case.fail(error).await)
                        }
                        // Somebody still has the transaction, and with it the connection that
                        // counting may need. A start that was counted stays.
                        (Verdict::Handled(_), None) => Err(TransactionNotReturned::new().into()),
                        (Verdict::Failed(error), None) => Err(error),
                    };
                    case.settled(succeeded, &ended).await;
                    ended
                })
            });
            Ok(Admission::Handle(Received::new(message, tx), settle))
        })
    }
}

async fn commit<C: Send + 'static>(
    case: &Case<C>,
    mut tx: BoxTx<C>,
    response: Kept,
) -> Result<(), BoxError> {
    let written = match response {
        Ok(response) => case.before_commit(tx.connection_mut(), response).await,
        Err(error) => Err(error),
    };
    match written {
        Ok(()) => Ok(tx.commit().await?),
        Err(error) => {
            tx.rollback().await.ok();
            Err(error)
        }
    }
}
