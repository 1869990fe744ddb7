use std::{env, process::Stdio};

use tokio::process::Command;
use tower_inbox::BoxError;

use crate::{
    axum_layer, bare, by_hand,
    handler::Behaviour,
    order::OrderPlaced,
    ours,
    peer::{Peer, Place},
};

/// Takes one delivery in a process of its own, which ends then, or dies in the handler.
pub(crate) async fn deliver(
    peer: &dyn Peer,
    place: &Place,
    order: &OrderPlaced,
    dies: bool,
) -> Result<(), BoxError> {
    let status = Command::new(env::current_exe()?)
        .args([VERB, peer.name(), &place.url, place.valkey.as_deref().unwrap_or_default()])
        .args([order.order_id.to_string(), order.email.clone(), order.cents.to_string()])
        .arg(dies.to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await?;
    match (status.success(), dies) {
        (true, false) | (false, true) => Ok(()),
        _ => Err(format!("the process of {} ended with {status}", peer.name()).into()),
    }
}

/// The other side of [`deliver`].
pub(crate) async fn run(args: &[String]) -> Result<(), BoxError> {
    let [name, url, valkey, order_id, email, cents, dies] = args else {
        return Err("this verb is for ourselves".into());
    };
    let peers: [Box<dyn Peer>; _] = [
        Box::new(bare::Bare),
        Box::new(by_hand::ByHand),
        Box::new(ours::Ours),
        Box::new(axum_layer::AxumIdempotent),
        #[cfg(feature = "idempotent")]
        Box::new(crate::idempotent_layer::InMemory),
        #[cfg(feature = "idempotent")]
        Box::new(crate::idempotent_layer::InValkey),
    ];
    let peer = peers.iter().find(|peer| peer.name() == name).ok_or("no such peer")?;
    let valkey = (!valkey.is_empty()).then(|| valkey.clone());
    let place = Place { url: url.clone(), valkey };
    let order =
        OrderPlaced { order_id: order_id.parse()?, email: email.clone(), cents: cents.parse()? };
    let behaviour = Behaviour { dies: dies.parse()?, ..Behaviour::counted() };
    let mut receivers = peer.open(&place, behaviour).await?;
    let told = receivers[0].deliver(order).await?;
    if told.acknowledges() { Ok(()) } else { Err(format!("told: {told}").into()) }
}

pub(crate) const VERB: &str = "deliver-once";
