//! Every row about events in `docs/metrics.md` moves, and a request is a span.
#![cfg(all(feature = "redis", feature = "metrics"))]

use std::collections::{BTreeMap, BTreeSet};

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tower_inbox::{
    events::{
        Claimed, DeduplicationConfig, EventDeduplicator, EventIdExtractor, FailurePolicy,
        backend::MemoryBackend,
    },
    telemetry,
};

#[tokio::test(flavor = "current_thread")]
async fn every_row_of_the_table_exists_and_moves() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _installed = metrics::set_default_local_recorder(&recorder);
    telemetry::describe();
    come_to_everything().await;

    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut outcomes = BTreeSet::new();
    for (key, _, description, value) in snapshotter.snapshot().into_vec() {
        let key = key.key();
        if !key.name().starts_with("tower_inbox_events_") {
            continue;
        }
        let moved = match value {
            DebugValue::Counter(count) => count > 0,
            DebugValue::Histogram(values) => !values.is_empty(),
            DebugValue::Gauge(_) => false,
        };
        assert!(moved, "{key} does not move");
        assert!(description.is_some(), "{key} is not described");
        let labels = key.labels().map(|label| label.key().to_owned()).collect();
        found.insert(key.name().to_owned(), labels);
        outcomes.extend(
            key.labels().filter(|label| label.key() == "outcome").map(|l| l.value().to_owned()),
        );
    }
    assert_eq!(found, documented());
    assert_eq!(outcomes, ["duplicate", "in_flight", "new"].map(str::to_owned).into());
}

/// Each outcome, the cache, a retry that fails in the end, and an open policy.
async fn come_to_everything() {
    let by_number = || EventIdExtractor::hash(|number: &u64| *number);
    let config = DeduplicationConfig::builder().local_cache(10).build().unwrap();
    let events = EventDeduplicator::new(config, by_number()).await.unwrap();
    assert!(events.check_and_mark(&1).await.unwrap());
    assert!(events.is_duplicate(&1).await.unwrap());
    let _claim = events.claim(&2).await.unwrap();
    assert!(matches!(events.claim(&2).await.unwrap(), Claimed::InFlight));

    let open = DeduplicationConfig::builder().failure_policy(FailurePolicy::Open).build().unwrap();
    let full = MemoryBackend::new().capacity(0);
    let events = EventDeduplicator::with_backend(open, by_number(), full);
    assert!(events.check_and_mark(&1).await.unwrap());
    assert_eq!(events.stats().failed_open, 1);
    retry().await;
}

async fn retry() {
    // Nobody listens there.
    let config = DeduplicationConfig::builder()
        .redis_url("redis://127.0.0.1:1")
        .failure_policy(FailurePolicy::Open)
        .retries(1)
        .build()
        .unwrap();
    let by_number = EventIdExtractor::hash(|number: &u64| *number);
    let events = EventDeduplicator::new(config, by_number).await.unwrap();
    assert!(!events.is_duplicate(&1).await.unwrap());
    assert_eq!(events.stats().retry_count, 1);
}

fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let text = include_str!("../docs/metrics.md");
    let words = |text: &str| -> Vec<String> {
        text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    text.lines()
        .filter(|line| line.starts_with("| `tower_inbox_events_"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            (words(cells[1]).remove(0), words(cells[3]).into_iter().collect())
        })
        .collect()
}
