use std::{borrow::Borrow, collections::HashMap};

use tower_inbox::events::{EventIdExtractor, IdError};

use super::budget::Share;
use crate::message::Message;

/// A line on its way through the filter.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) message: Message,
    /// How many more lines with its id came right after it.
    pub(super) repeats: u64,
    /// Its part of the memory for lines.
    _share: Share,
}

impl Event {
    pub(super) fn new(message: Message, share: Share) -> Self {
        Self { message, repeats: 0, _share: share }
    }
}

impl Borrow<Message> for Event {
    fn borrow(&self) -> &Message {
        &self.message
    }
}

/// What identifies a line: the canonical bytes of the chosen fields.
pub(super) fn id<T: Borrow<Message>>() -> EventIdExtractor<T> {
    EventIdExtractor::canonical(|line: &T| Ok::<_, IdError>(line.borrow().canonical.clone()))
}

/// Counts the repeats among events that are claimed together: whatever the first one comes to, they
/// are duplicates of it, and not in flight with somebody else.
pub(super) fn without_repeats(events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let mut places: HashMap<Box<[u8]>, usize> = HashMap::new();
    let mut first: Vec<Event> = Vec::new();
    for event in events {
        let id = event.message.canonical.as_bytes();
        match places.get(id) {
            Some(place) => first[*place].repeats += 1,
            None => {
                places.insert(id.into(), first.len());
                first.push(event);
            }
        }
    }
    first
}
