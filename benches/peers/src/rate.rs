use tower_inbox::BoxError;

use crate::{
    drive::Sample,
    peer::{Peer, Place},
    support::{Args, DISTURBED, REST, Rounds, Spread, Table, order_of},
};

/// Measures all peers in interleaved rounds.
pub(crate) async fn measure(
    part: &str,
    args: &Args,
    workers: usize,
    peers: &[Box<dyn Peer>],
    places: &[Place],
) -> Result<(), BoxError> {
    let mut rates = Rounds::default();
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); peers.len()];
    for round in 0..args.rounds() {
        for index in order_of(round, peers.len()) {
            let sample = undisturbed(args, workers, peers[index].as_ref(), &places[index]).await?;
            rates.push(peers[index].name(), sample.messages_per_second);
            samples[index].push(sample);
        }
    }

    let mut table = Table::new(&["peer", "messages/s", "ratio to no inbox", "processor us"]);
    for (peer, samples) in peers.iter().zip(&samples) {
        let name = peer.name();
        let used = samples.iter().map(|sample| sample.client_us + sample.server_us).collect();
        table.row([
            name.to_owned(),
            format!("{:.0}", rates.of(name).median),
            rates.ratio(name, peers[0].name()).to_string(),
            format!("{:.0}", Spread::of(used).median),
        ]);
    }
    table.print(&format!("{part}: messages handled by {workers} worker(s)"));
    let others = samples.iter().flatten().map(|sample| sample.others).collect();
    println!("others used {} of the processors\n", Spread::of(others));
    Ok(())
}

/// Measures one peer, with empty tables, and again if other processes were busy meanwhile.
async fn undisturbed(
    args: &Args,
    workers: usize,
    peer: &dyn Peer,
    place: &Place,
) -> Result<Sample, BoxError> {
    let mut best: Option<Sample> = None;
    for attempt in 0..=args.patience {
        if attempt > 0 {
            tokio::time::sleep(REST).await;
        }
        empty(place).await?;
        let sample = peer.sample(place, workers, args.slice()).await?;
        if best.is_none_or(|best| sample.others < best.others) {
            best = Some(sample);
        }
        if sample.others <= DISTURBED {
            break;
        }
    }
    best.ok_or_else(|| "nothing was measured".into())
}

/// Empties all tables but those that hold what a schema needs to work.
async fn empty(place: &Place) -> Result<(), BoxError> {
    sqlx::raw_sql(
        "do $$ declare name text; begin
            for name in
                select format('%I.%I', schemaname, tablename) from pg_tables
                where tablename in ('orders', 'seen', 'inbox')
            loop execute 'truncate ' || name; end loop;
        end $$",
    )
    .execute(&place.pool(1).await?)
    .await?;
    Ok(())
}
