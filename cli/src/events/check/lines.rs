use std::{io, thread};

use tokio::sync::mpsc;
use tower_inbox::{
    events::EventIdExtractor,
    lines::{BadLine, Line},
};

use super::{
    Settings,
    budget::{Budget, Share},
    event,
};
use crate::{input::Input, message::Message};

/// What became of one line.
pub(super) struct Item {
    pub(super) line: Result<Message, BadLine>,
    /// How many bytes of the stream end with it.
    pub(super) offset: u64,
    /// Its part of the memory for lines.
    pub(super) share: Share,
}

/// Reads lines and makes their ids in a thread of its own, a batch ahead of the filter.
///
/// The thread is not waited for: a standard input that says nothing would keep us from ending.
pub(super) fn read(input: Input, settings: &Settings) -> mpsc::Receiver<io::Result<Item>> {
    let (sender, receiver) = mpsc::channel(BATCH);
    let mut reader = input.lines(settings.max_line);
    let (settings, ids, budget) = (settings.clone(), event::id(), Budget::new(MEMORY));
    thread::spawn(move || {
        while let Some(line) = reader.next() {
            let offset = reader.offset();
            let item = line.map(|line| {
                let bytes = line.as_ref().map_or_else(|bad| bad.raw.len(), |line| line.text.len());
                let share = budget.take(bytes);
                Item { line: line.and_then(|line| recognise(line, &settings, &ids)), offset, share }
            });
            if sender.blocking_send(item).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Takes the id out of a line. One that has none, or too long a one, goes no further.
fn recognise(
    line: Line,
    settings: &Settings,
    ids: &EventIdExtractor<Message>,
) -> Result<Message, BadLine> {
    let message = Message::new(line, &settings.id, &settings.kind)?;
    let limit = settings.max_id;
    let reason = match ids.id(&message) {
        Ok(id) if id.len() <= limit => return Ok(message),
        Ok(id) => format!(
            "the id has {} bytes and the limit is {limit}: max-id-bytes in the config file raises it",
            id.len()
        ),
        Err(error) => error.to_string(),
    };
    Err(BadLine::new(message.number, reason, message.text))
}

/// The most lines that are claimed at once. More would not be faster, and would be longer in flight
/// for others.
pub(super) const BATCH: usize = 512;
// Enough for a batch of lines of 64 KiB; of longer ones fewer are read ahead.
const MEMORY: usize = 32 << 20;
