use tower::{Service, ServiceExt};
use tower_inbox::{
    BoxError, Outcome,
    inbox::{DeadLettered, InFlight},
};

use crate::OrderPlaced;

/// What the broker is told about a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Its effect is there, by this delivery or an earlier one, or it is kept among the inbox's dead
    /// letters: the broker may forget it.
    Acknowledge,
    /// Another delivery of the same message is being handled. Its end decides, so this one has to
    /// come again, soon; it is no failure.
    Later,
    /// The handler failed, and its writes were rolled back: it has to come again, after a while.
    Failed,
    /// Nobody can ever read it: it goes where somebody looks at it, and does not come again.
    Unreadable,
}

/// Hands an order to the inbox and decides what the broker is told. The one place where that
/// happens, for all brokers.
pub async fn deliver<S>(inbox: S, order: OrderPlaced) -> Answer
where
    S: Service<OrderPlaced, Response = Outcome<()>, Error = BoxError>,
{
    let id = order.order_id;
    match inbox.oneshot(order).await {
        Ok(Outcome::Handled(())) => {
            println!("order {id}: handled");
            Answer::Acknowledge
        }
        Ok(Outcome::Duplicate) => {
            println!("order {id}: duplicate");
            Answer::Acknowledge
        }
        Err(error) if error.is::<DeadLettered>() => {
            println!("order {id}: dead letter");
            Answer::Acknowledge
        }
        Err(error) if error.is::<InFlight>() => {
            println!("order {id}: in flight");
            Answer::Later
        }
        Err(error) => {
            println!("order {id}: failed");
            eprintln!("order {id}: {error}");
            Answer::Failed
        }
    }
}

/// The same with an order that comes as JSON.
pub async fn deliver_json<S>(inbox: S, payload: &[u8]) -> Answer
where
    S: Service<OrderPlaced, Response = Outcome<()>, Error = BoxError>,
{
    match serde_json::from_slice(payload) {
        Ok(order) => deliver(inbox, order).await,
        Err(error) => {
            eprintln!("unreadable message: {error}");
            Answer::Unreadable
        }
    }
}
