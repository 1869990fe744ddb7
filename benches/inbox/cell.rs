use tokio::time::sleep;
use tower_inbox::hook::BoxFuture;

use crate::{
    drive::{Sample, Worker, drive},
    support::{Args, DISTURBED, Goal, REST, Rounds, Spread, Table, judged, order_of},
};

/// A way of handling messages, with a database of its own.
pub(crate) trait Variant: Send + Sync {
    fn name(&self) -> &str;

    /// Empties the tables.
    fn reset(&self) -> BoxFuture<'_, ()>;

    /// Opens the connections and makes the workers. They are closed when these are dropped.
    fn workers(&self, workers: usize) -> BoxFuture<'_, Vec<Box<dyn Worker>>>;
}

/// What a ratio of two variants has to reach.
pub(crate) struct Aim {
    pub(crate) of: &'static str,
    pub(crate) to: &'static str,
    pub(crate) goal: Option<Goal>,
}

/// Measures all variants with some workers, in interleaved rounds, and prints two tables.
pub(crate) async fn measure(
    title: &str,
    args: &Args,
    workers: usize,
    mut variants: Vec<Box<dyn Variant>>,
    aims: &[Aim],
) {
    let mut index = 0..;
    variants.retain(|variant| args.wants_variant(index.next().unwrap_or(0), variant.name()));
    for variant in &variants {
        variant.reset().await;
    }
    let mut rates = Rounds::default();
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); variants.len()];
    for round in 0..args.rounds() {
        for index in order_of(round, variants.len()) {
            let sample = undisturbed(args, variants[index].as_ref(), workers).await;
            rates.push(variants[index].name(), sample.messages_per_second);
            samples[index].push(sample);
        }
    }

    let mut table = Table::new(&[
        "variant",
        "messages/s",
        "p50 ms",
        "p99 ms",
        "client us",
        "server us",
        "ratio to the first",
    ]);
    for (variant, samples) in variants.iter().zip(&samples) {
        let median = |of: fn(&Sample) -> f64| Spread::of(samples.iter().map(of).collect()).median;
        table.row([
            variant.name().to_owned(),
            format!("{:.0}", median(|sample| sample.messages_per_second)),
            format!("{:.3}", median(|sample| sample.p50_ms)),
            format!("{:.3}", median(|sample| sample.p99_ms)),
            format!("{:.0}", median(|sample| sample.client_us)),
            format!("{:.0}", median(|sample| sample.server_us)),
            rates.ratio(variant.name(), variants[0].name()).to_string(),
        ]);
    }
    table.print(title);
    let others = samples.iter().flatten().map(|sample| sample.others).collect();
    println!("others used {} of the processors\n", Spread::of(others));

    if aims.is_empty() {
        return;
    }
    let mut table = Table::new(&["variant", "against", "ratio", "goal"]);
    for Aim { of, to, goal } in aims.iter().filter(|aim| rates.has(aim.of) && rates.has(aim.to)) {
        let [ratio, goal] = judged(rates.ratio(of, to), *goal);
        table.row([(*of).to_owned(), (*to).to_owned(), ratio, goal]);
    }
    table.print(&format!("{title}: judged"));
}

/// Measures one variant, again if other processes were busy meanwhile.
async fn undisturbed(args: &Args, variant: &dyn Variant, workers: usize) -> Sample {
    let mut best: Option<Sample> = None;
    for attempt in 0..=args.patience {
        if attempt > 0 {
            sleep(REST).await;
        }
        let sample = drive(variant.workers(workers).await, args.slice()).await;
        if best.is_none_or(|best| sample.others < best.others) {
            best = Some(sample);
        }
        if sample.others <= DISTURBED {
            break;
        }
    }
    best.expect("it was measured at least once")
}
