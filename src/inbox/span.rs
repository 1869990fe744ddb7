use std::sync::Arc;

use tracing::{Level, Span, field};

use crate::{hook::Decision, key::InboxKey};

/// The span of one delivery. Without a subscriber that wants it, nothing is made.
pub(super) fn deliver(consumer: &Arc<str>) -> Span {
    tracing::info_span!(NAME, consumer = &**consumer, key = field::Empty, decision = field::Empty)
}

/// The span of a batch; what each message comes to is told by events in it.
pub(super) fn deliver_batch(consumer: &Arc<str>, messages: usize) -> Span {
    tracing::info_span!("inbox.deliver_batch", consumer = &**consumer, messages)
}

/// Notes the key in the delivery's span, for those who look closely: a key may tell a customer.
pub(super) fn key(key: InboxKey) {
    if tracing::enabled!(Level::DEBUG) {
        record("key", &field::display(key));
    }
}

/// Notes the decision in the delivery's span.
pub(super) fn decision(decision: Decision) {
    record("decision", &decision.as_str());
}

/// Records a field of ours. The span that is current may be the caller's, if ours is filtered out.
fn record(field: &str, value: &dyn tracing::Value) {
    let span = Span::current();
    if span.metadata().is_some_and(|metadata| metadata.name() == NAME) {
        span.record(field, value);
    }
}

const NAME: &str = "inbox.deliver";
