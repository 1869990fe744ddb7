use std::time::Duration;

use sqlx::PgPool;
use tokio::time::{sleep, timeout};
use tower_inbox::BoxError;

use crate::{
    child,
    handler::Behaviour,
    order::OrderPlaced,
    peer::{Peer, Place, Receiver, Told},
    support::Table,
};

/// Lets each peer go through each fault and prints what was left.
pub(crate) async fn judge(peers: &[Box<dyn Peer>], places: &[Place]) -> Result<(), BoxError> {
    let mut table = Table::new(&["fault", "peer", "rows", "runs", "told"]);
    let mut prepared = vec![false; peers.len()];
    for fault in FAULTS {
        for (index, (peer, place)) in peers.iter().zip(places).enumerate().skip(1) {
            if !prepared[index] {
                peer.prepare(place).await?;
                prepared[index] = true;
            }
            if fault == Fault::Dropped && !peer.handles_in_the_call() {
                let why = "its handler is not part of the call".to_owned();
                table.row([fault.name(), peer.name(), "", "", &why].map(str::to_owned));
                continue;
            }
            let Left { rows, runs, told } = fault.happens_to(peer.as_ref(), place).await?;
            let told: Vec<String> = told.iter().map(Told::to_string).collect();
            table.row([
                fault.name().to_owned(),
                peer.name().to_owned(),
                if rows == 1 { rows.to_string() } else { format!("{rows} WRONG") },
                runs.to_string(),
                told.join(", "),
            ]);
        }
    }
    table.print("Faults: one message, delivered again until it is acknowledged; one row is right");
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    TwoAtOnce,
    Killed,
    Dropped,
    Restarted,
    KeyReused,
    ErrorSwallowed,
}

const FAULTS: [Fault; 6] = [
    Fault::TwoAtOnce,
    Fault::Killed,
    Fault::Dropped,
    Fault::Restarted,
    Fault::KeyReused,
    Fault::ErrorSwallowed,
];

/// What a fault left behind.
struct Left {
    rows: i64,
    /// How often the handler ran, rolled back or not.
    runs: i64,
    /// What the deliveries were told, in turn.
    told: Vec<Told>,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::TwoAtOnce => "two deliveries at once, slow handler",
            Self::Killed => "process killed when the handler is done, before the mark",
            Self::Dropped => "call dropped (timeout) after the handler's insert",
            Self::Restarted => "process restarted after the message was handled",
            Self::KeyReused => "same key, another amount",
            Self::ErrorSwallowed => "handler ignores the error of a statement, returns success",
        }
    }

    async fn happens_to(self, peer: &dyn Peer, place: &Place) -> Result<Left, BoxError> {
        let pool = place.pool(1).await?;
        let order = OrderPlaced::next();
        sqlx::raw_sql("truncate orders; alter sequence runs restart").execute(&pool).await?;
        let mut told = Vec::new();
        match self {
            Self::TwoAtOnce => {
                let slow = Behaviour { workers: 2, pause: PAUSE, ..Behaviour::counted() };
                let mut receivers = peer.open(place, slow).await?;
                let (mut second, mut first) = (receivers.remove(1), receivers.remove(0));
                let (one, two) = tokio::join!(first.deliver(order.clone()), async {
                    sleep(PAUSE / 4).await;
                    second.deliver(order.clone()).await
                });
                told.extend([one?, two?]);
                if !told[1].acknowledges() {
                    told.push(again(second.as_mut(), &order).await?);
                }
                return left(&pool, told).await;
            }
            Self::Killed if peer.dies_alone() => {
                let deadly = Behaviour { dies: true, ..Behaviour::counted() };
                let mut receivers = peer.open(place, deadly).await?;
                if receivers[0].deliver(order.clone()).await.is_ok() {
                    return Err("it survived its death".into());
                }
            }
            Self::Killed => child::deliver(peer, place, &order, true).await?,
            Self::Dropped => {
                let slow = Behaviour { pause: PAUSE, ..Behaviour::counted() };
                let mut receivers = peer.open(place, slow).await?;
                if timeout(PAUSE / 2, receivers[0].deliver(order.clone())).await.is_ok() {
                    return Err("the handler was too fast to be dropped".into());
                }
                told.push(again(receivers[0].as_mut(), &order).await?);
                return left(&pool, told).await;
            }
            Self::Restarted if peer.dies_alone() => {
                let mut receivers = peer.open(place, Behaviour::counted()).await?;
                receivers[0].deliver(order.clone()).await?;
            }
            Self::Restarted => child::deliver(peer, place, &order, false).await?,
            Self::KeyReused => {
                let mut receivers = peer.open(place, Behaviour::counted()).await?;
                told.push(receivers[0].deliver(order.clone()).await?);
                let other = OrderPlaced { cents: order.cents + 1, ..order };
                told.push(receivers[0].deliver(other).await?);
                return left(&pool, told).await;
            }
            Self::ErrorSwallowed => {
                let careless = Behaviour { swallows: true, ..Behaviour::counted() };
                let mut receivers = peer.open(place, careless).await?;
                told.push(receivers[0].deliver(order.clone()).await?);
                if !told[0].acknowledges() {
                    told.push(again(receivers[0].as_mut(), &order).await?);
                }
                return left(&pool, told).await;
            }
        }
        // Another process has taken the first delivery; the next one comes to us.
        let mut receivers = peer.open(place, Behaviour::counted()).await?;
        told.push(again(receivers[0].as_mut(), &order).await?);
        left(&pool, told).await
    }
}

/// Delivers until the message is acknowledged, as a broker does.
async fn again(receiver: &mut dyn Receiver, order: &OrderPlaced) -> Result<Told, BoxError> {
    for _ in 0..DELIVERIES {
        let told = receiver.deliver(order.clone()).await?;
        if told.acknowledges() {
            return Ok(told);
        }
        sleep(Duration::from_millis(250)).await;
    }
    Err("it was never acknowledged".into())
}

async fn left(pool: &PgPool, told: Vec<Told>) -> Result<Left, BoxError> {
    let rows = sqlx::query_scalar("select count(*) from orders").fetch_one(pool).await?;
    let runs =
        sqlx::query_scalar("select case when is_called then last_value else 0 end from runs")
            .fetch_one(pool)
            .await?;
    Ok(Left { rows, runs, told })
}

const PAUSE: Duration = Duration::from_millis(400);
const DELIVERIES: usize = 60;
