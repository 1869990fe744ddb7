//! Every row of `docs/metrics.md` moves, and every delivery is a span around its handler.
#![cfg(all(feature = "sqlite", feature = "postgres", feature = "testing", feature = "metrics"))]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use metrics_util::{
    MetricKind,
    debugging::{DebugValue, DebuggingRecorder},
};
use sqlx::SqliteConnection;
use tower::{Layer, Service, service_fn};
use tower_inbox::{
    BoxError, InboxLayer, Outcome,
    inbox::{DeadLetterPolicy, Leased, Received, SqliteStore, WithoutKey},
    telemetry,
    testing::Harness,
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

use support::harness::Sqlite;

#[derive(Clone)]
struct Message {
    id: Option<u32>,
    body: &'static str,
}

#[tokio::test(flavor = "current_thread")]
async fn every_row_of_the_table_exists_and_moves() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _installed = metrics::set_default_local_recorder(&recorder);
    telemetry::describe();
    let harness = Sqlite::start().await;
    come_to_every_decision(&harness).await;
    sweep_and_fail(&harness).await;

    let mut found: BTreeMap<String, Row> = BTreeMap::new();
    let mut decisions = BTreeSet::new();
    for (key, unit, description, value) in snapshotter.snapshot().into_vec() {
        let (kind, key) = (key.kind(), key.key());
        let moved = match value {
            DebugValue::Counter(count) => count > 0,
            DebugValue::Histogram(values) => !values.is_empty(),
            DebugValue::Gauge(_) => false,
        };
        assert!(moved, "{key} does not move");
        assert!(description.is_some(), "{key} is not described");
        let labels: BTreeSet<_> = key.labels().map(|label| label.key().to_owned()).collect();
        for label in key.labels() {
            match label.key() {
                "decision" => assert!(decisions.insert(label.value().to_owned())),
                _ => assert_eq!(label.value(), "billing"),
            }
        }
        let seconds = unit.is_some_and(|unit| unit.as_str() == "seconds");
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        found.insert(key.name().to_owned(), Row { kind: kind.into(), labels, seconds });
    }
    let (table, listed) = documented();
    assert_eq!(found, table);
    assert_eq!(decisions, listed);
}

/// One delivery or more of each kind that there is.
async fn come_to_every_decision(harness: &Sqlite) {
    let layer = InboxLayer::new("billing", harness.store())
        .dedup_by(|message: &Message| message.id)
        .fingerprint(|message: &Message| message.body)
        .dead_letters(DeadLetterPolicy::after(2));
    let handled = async |message: Message| layer.layer(service_fn(succeeds)).call(message).await;
    let failed = async |message: Message| layer.layer(service_fn(fails)).call(message).await;
    let message = |id, body| Message { id: Some(id), body };

    assert_eq!(handled(message(1, "a")).await.unwrap(), Outcome::Handled(()));
    harness.clock().advance(10);
    assert_eq!(handled(message(1, "a")).await.unwrap(), Outcome::Duplicate);
    handled(message(1, "b")).await.unwrap_err();
    failed(message(2, "a")).await.unwrap_err();
    failed(message(2, "a")).await.unwrap_err();
    let absent = Message { id: None, body: "a" };
    handled(absent.clone()).await.unwrap_err();
    let passing = layer.clone().without_key(WithoutKey::PassThrough);
    let passed = passing.layer(service_fn(succeeds)).call(absent).await.unwrap();
    assert_eq!(passed, Outcome::Handled(()));

    let remembering = layer.clone().remember(10);
    for expected in [Outcome::Handled(()), Outcome::Duplicate] {
        let outcome = remembering.layer(service_fn(succeeds)).call(message(4, "a")).await.unwrap();
        assert_eq!(outcome, expected);
    }

    let leased = layer.leased(Duration::from_secs(30));
    let (inner, clock) = (leased.clone(), harness.clock().clone());
    let slow = service_fn(move |received: Leased<Message>| {
        let (inner, clock) = (inner.clone(), clock.clone());
        async move {
            let idle = service_fn(|_: Leased<Message>| async { Ok::<_, BoxError>(()) });
            inner.layer(idle).call(received.message).await.unwrap_err();
            clock.advance(60);
            Ok::<_, BoxError>(())
        }
    });
    leased.layer(slow).call(message(3, "a")).await.unwrap_err();
}

/// A round that removes what is over, and one that finds a table gone.
async fn sweep_and_fail(harness: &Sqlite) {
    harness.clock().advance(2 * 24 * 3600);
    let round = async || {
        let shutdown = tokio::time::sleep(Duration::from_millis(300));
        harness.store().sweeper().run(shutdown).await;
        harness.clock().advance(120);
    };
    round().await;
    sqlx::query("drop table tower_inbox_inbox").execute(harness.pool()).await.unwrap();
    round().await;
}

#[derive(Debug, PartialEq, Eq)]
struct Row {
    kind: String,
    labels: BTreeSet<String>,
    seconds: bool,
}

/// The table of the documentation, and the decisions that it lists.
fn documented() -> (BTreeMap<String, Row>, BTreeSet<String>) {
    let text = include_str!("../docs/metrics.md");
    let words = |text: &str| -> Vec<String> {
        text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let ours = |line: &&str| {
        line.starts_with("| `tower_inbox_") && !line.starts_with("| `tower_inbox_events_")
    };
    let rows = text.lines().filter(ours).map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, kind, labels, unit, meaning, _] = cells[..] else { panic!("{line}") };
        assert!(!meaning.is_empty());
        let labels = words(labels).into_iter().collect();
        let row = Row { kind: kind.to_owned(), labels, seconds: unit == "seconds" };
        (words(name).remove(0), row)
    });
    let list = text.split("`decision` is one of").nth(1).unwrap().split(';').next().unwrap();
    (rows.collect(), words(list).into_iter().collect())
}

#[tokio::test(flavor = "current_thread")]
async fn a_delivery_is_a_span_around_its_handler() {
    let (spans, events) = deliver_watched(Level::DEBUG).await;
    let decisions: Vec<_> = spans.iter().map(|span| &*span["decision"]).collect();
    assert_eq!(decisions, ["handled", "duplicate", "failed"]);
    for span in &spans {
        assert_eq!(span["consumer"], "billing");
        assert_eq!(span["key"].len(), 36, "{span:?}");
    }
    // Both handlers that ran did so in their deliveries.
    assert_eq!(events, ["inbox.deliver", "inbox.deliver"]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_span_has_no_key_unless_somebody_looks_closely() {
    let (spans, events) = deliver_watched(Level::INFO).await;
    assert_eq!(spans.len(), 3);
    assert!(spans.iter().all(|span| !span.contains_key("key")), "{spans:?}");
    assert!(spans.iter().all(|span| span.contains_key("decision")), "{spans:?}");
    assert_eq!(events.len(), 2);
}

#[tokio::test(flavor = "current_thread")]
async fn a_span_that_nobody_wants_leaves_those_of_others_alone() {
    let (spans, events) = deliver_watched(Level::WARN).await;
    assert_eq!(spans, [BTreeMap::from([("decision".to_owned(), "mine".to_owned())])]);
    assert_eq!(events, ["mine", "mine"]);
}

/// Delivers in a span of the caller's, and gives our spans (or the caller's, where we have none), and
/// the spans in which the handlers spoke.
async fn deliver_watched(level: Level) -> (Vec<BTreeMap<String, String>>, Vec<String>) {
    let watch = Watch { level, spans: Arc::default(), events: Arc::default() };
    let (spans, events) = (Arc::clone(&watch.spans), Arc::clone(&watch.events));
    let store = SqliteStore::in_memory().await.unwrap();
    store.schema().up().await.unwrap();
    let layer = InboxLayer::new("billing", store).dedup_by(|message: &Message| message.id);
    let _installed = tracing::subscriber::set_default(tracing_subscriber::registry().with(watch));
    {
        let mine = tracing::warn_span!("mine", decision = "mine");
        let _entered = mine.enter();
        let message = |id| Message { id: Some(id), body: "a" };
        let speaks = service_fn(|received: Received<Message, SqliteConnection>| async move {
            tracing::error!(target: "handler", "at work");
            succeeds(received).await
        });
        let _ = layer.layer(speaks).call(message(1)).await.unwrap();
        let _ = layer.layer(speaks).call(message(1)).await.unwrap();
        let shouts = service_fn(|received: Received<Message, SqliteConnection>| async move {
            tracing::error!(target: "handler", "at work");
            fails(received).await
        });
        layer.layer(shouts).call(message(2)).await.unwrap_err();
    }
    let spans = spans.lock().unwrap();
    let ours: Vec<_> = spans.iter().filter(|span| span.0 == "inbox.deliver").collect();
    let shown = if ours.is_empty() { spans.iter().collect() } else { ours };
    let shown = shown.into_iter().map(|(_, fields)| fields.clone()).collect();
    (shown, events.lock().unwrap().clone())
}

/// Keeps what becomes of the spans of this crate and of this file.
struct Watch {
    level: Level,
    spans: Arc<Mutex<Vec<Spanned>>>,
    events: Arc<Mutex<Vec<String>>>,
}

/// A span's name, and its fields as texts.
type Spanned = (&'static str, BTreeMap<String, String>);

/// The place of a span in the list.
struct Place(usize);

impl<S: Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Watch {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let ours = ["tower_inbox", "telemetry", "handler"];
        *metadata.level() <= self.level
            && ours.iter().any(|ours| metadata.target().starts_with(ours))
    }

    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, cx: Context<'_, S>) {
        let mut fields = BTreeMap::new();
        attributes.record(&mut Fields(&mut fields));
        let mut spans = self.spans.lock().unwrap();
        cx.span(id).unwrap().extensions_mut().insert(Place(spans.len()));
        spans.push((attributes.metadata().name(), fields));
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, cx: Context<'_, S>) {
        let span = cx.span(id).unwrap();
        let place = span.extensions().get::<Place>().unwrap().0;
        values.record(&mut Fields(&mut self.spans.lock().unwrap()[place].1));
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        if event.metadata().target() == "handler" {
            let name = cx.event_span(event).map_or("none", |span| span.name());
            self.events.lock().unwrap().push(name.to_owned());
        }
    }
}

struct Fields<'a>(&'a mut BTreeMap<String, String>);

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

async fn succeeds(received: Received<Message, SqliteConnection>) -> Result<(), BoxError> {
    drop(received);
    Ok(())
}

async fn fails(_: Received<Message, SqliteConnection>) -> Result<(), BoxError> {
    Err("the card was declined".into())
}
