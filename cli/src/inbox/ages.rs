use std::time::Duration;

use serde::Serialize;
use tower_inbox::inbox::store::{AgeHistogram, InboxAdmin};

use crate::{
    args::{AgesArgs, ConsumeArgs},
    database::{Backend, Location, Use, with_store},
    error::Failure,
    exit::Exit,
    output::{self, Format},
    subject,
    text::{Table, length},
};

/// Shows how old the duplicates of a consumer were, and so how long its window must be.
pub(super) async fn ages(
    args: AgesArgs,
    file: ConsumeArgs,
    location: &Location,
    format: Format,
) -> Result<Exit, Failure> {
    let consumer = subject::consumer(args.consumer, &file)?;
    let database = location.open(Use { create: false, connections: 2 }).await?;
    let ages = with_store!(database, store => {
        let ages = async {
            store.check().await?;
            store.ages(consumer.clone()).await
        }
        .await;
        store.close().await;
        ages?
    });
    let report = Report::new(&consumer, &ages);
    output::print(&format.render(&report, Report::text))?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Report {
    consumer: String,
    duplicates: u64,
    buckets: Vec<Bucket>,
}

#[derive(Serialize)]
struct Bucket {
    younger_than_seconds: u64,
    duplicates: u64,
    /// Of all of them, with this window.
    recognised_percent: f64,
}

impl Report {
    fn new(consumer: &str, ages: &AgeHistogram) -> Self {
        let percent = |window: Duration| {
            let share = ages.share_within(window).unwrap_or(0.0);
            (share * 10_000.0).round() / 100.0
        };
        let buckets = ages.buckets.iter().map(|bucket| Bucket {
            younger_than_seconds: bucket.younger_than.as_secs(),
            duplicates: bucket.seen,
            recognised_percent: percent(bucket.younger_than),
        });
        Self { consumer: consumer.to_owned(), duplicates: ages.total(), buckets: buckets.collect() }
    }

    fn text(&self) -> String {
        if self.duplicates == 0 {
            return format!("the consumer {} has had no duplicates so far\n", self.consumer);
        }
        let mut table = Table::new([">younger than", ">duplicates", ">within", ""]);
        let most = self.buckets.iter().map(|bucket| bucket.duplicates).max().unwrap_or(1).max(1);
        for bucket in &self.buckets {
            let bar = bucket.duplicates * WIDTH / most;
            // Few are not none.
            let bar = if bucket.duplicates > 0 { bar.max(1) } else { 0 };
            table.row([
                length(bucket.younger_than_seconds),
                bucket.duplicates.to_string(),
                format!("{:.2} %", bucket.recognised_percent),
                "#".repeat(usize::try_from(bar).unwrap_or(0)),
            ]);
        }
        let mut text = format!(
            "consumer {}: {} duplicates\n\n{}\n",
            self.consumer,
            self.duplicates,
            table.render()
        );
        for enough in [90.0, 99.0, 100.0] {
            let bucket = self.buckets.iter().find(|bucket| bucket.recognised_percent >= enough);
            if let Some(bucket) = bucket {
                text += &format!(
                    "a window of {} would have recognised {:.2} % of these duplicates\n",
                    length(bucket.younger_than_seconds),
                    bucket.recognised_percent
                );
            }
        }
        text += "what came after the window in force is not counted: it was not recognised\n";
        text
    }
}

const WIDTH: u64 = 40;
