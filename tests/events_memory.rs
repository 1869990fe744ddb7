//! Events in memory against the conformance suite, and the window's bounds on a clock of its own.
#![cfg(all(feature = "events", feature = "testing", feature = "sqlite", feature = "postgres"))]

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use support::random::Random;
use tower_inbox::{
    events::{
        EventIds, EventWindow,
        backend::{EventBackend, MemoryBackend},
    },
    hook::BoxFuture,
    testing::EventHarness,
};

mod conformance {
    use crate::Memory;

    tower_inbox::events_conformance!(Memory::start());
}

/// Hundred thousand events, over several slots, fixed and sliding: seen to the last nanosecond of the
/// window, and new when a window and a slot are over.
#[tokio::test]
async fn no_window_is_too_short_or_longer_than_a_slot_more() {
    let mut seed = 0;
    for (window, slot) in [(1000, 1000), (1000, 250), (1000, 16), (777, 13), (60_000, 15_000)] {
        for sliding in [false, true] {
            seed += 1;
            let window = EventWindow::new(Duration::from_millis(window))
                .and_then(|of| of.with_slot(Duration::from_millis(slot)))
                .unwrap()
                .sliding(sliding);
            assert_window(window, 10_000, seed).await;
        }
    }
}

async fn assert_window(window: EventWindow, events: u64, seed: u64) {
    let harness = Memory::start();
    let (length, slot) = (window.length().unwrap(), window.slot());
    let mut random = Random(seed);
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap();
    // What happens when; several things at one moment happen in any order.
    let mut plan = BTreeMap::<u64, Vec<(u64, Step)>>::new();
    let mut now = 0;
    for event in 0..events {
        now += random.below(nanos(length) / 500);
        // Now and then at the very end of a slot.
        let at = if random.below(4) == 0 { now.next_multiple_of(nanos(slot)) } else { now };
        let mut last = at;
        plan.entry(at).or_default().push((event, Step::New));
        if random.below(2) == 0 {
            let again = at + random.below(nanos(length));
            plan.entry(again).or_default().push((event, Step::Duplicate));
            if window.is_sliding() {
                last = again;
            }
        }
        plan.entry(last + nanos(length) - 1).or_default().push((event, Step::Seen));
        let forgotten = last + nanos(length + slot);
        plan.entry(forgotten).or_default().push((event, Step::Forgotten));
    }
    let backend = harness.backend();
    for (at, steps) in plan {
        harness.clock.store(at, Ordering::SeqCst);
        for (event, step) in steps {
            let ids: EventIds = [&event.to_be_bytes()[..]].into_iter().collect();
            let right = match step {
                Step::New => backend.mark(&ids, &window).await.unwrap()[0],
                Step::Duplicate => !backend.mark(&ids, &window).await.unwrap()[0],
                Step::Seen => backend.look(&ids).await.unwrap()[0],
                Step::Forgotten => !backend.look(&ids).await.unwrap()[0],
            };
            assert!(right, "{step:?} is wrong of {event} at {at} ns, {window:?}, seed {seed}");
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    New,
    Duplicate,
    Seen,
    Forgotten,
}

/// A memory on a clock that only the test moves.
struct Memory {
    backend: MemoryBackend,
    clock: Arc<AtomicU64>,
}

impl Memory {
    fn start() -> Self {
        let clock = Arc::new(AtomicU64::new(0));
        let read = Arc::clone(&clock);
        let backend =
            MemoryBackend::with_clock(move || Duration::from_nanos(read.load(Ordering::SeqCst)));
        Self { backend, clock }
    }
}

impl EventHarness for Memory {
    fn backend(&self) -> Arc<dyn EventBackend> {
        Arc::new(self.backend.clone())
    }

    fn another(&self) -> Arc<dyn EventBackend> {
        Arc::new(self.backend.clone())
    }

    fn pass(&self, time: Duration) -> BoxFuture<'_, ()> {
        self.clock.fetch_add(u64::try_from(time.as_nanos()).unwrap(), Ordering::SeqCst);
        Box::pin(std::future::ready(()))
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.clock.load(Ordering::SeqCst))
    }

    fn max_windows(&self) -> Option<usize> {
        Some(8)
    }
}
