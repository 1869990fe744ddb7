use std::{io, sync::Arc, thread};

use tokio::sync::mpsc;
use tower_inbox::lines::BadLine;

use super::Settings;
use crate::{input::Input, message::Message};

/// What became of one line.
pub(super) struct Item {
    pub(super) line: Result<Arc<Message>, BadLine>,
    /// How many bytes of the stream end with it.
    pub(super) offset: u64,
}

/// Reads lines and makes their keys in a thread of its own, a little ahead of the handling.
///
/// The thread is not waited for: a standard input that says nothing would keep us from ending.
pub(super) fn read(input: Input, settings: &Settings) -> mpsc::Receiver<io::Result<Item>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let mut reader = input.lines(settings.max_line);
    let (fields, kind) = (settings.key.clone(), settings.kind.clone());
    thread::spawn(move || {
        while let Some(line) = reader.next() {
            let item = line.map(|line| Item {
                line: line.and_then(|line| Message::new(line, &fields, &kind)).map(Arc::new),
                offset: reader.offset(),
            });
            if sender.blocking_send(item).is_err() {
                break;
            }
        }
    });
    receiver
}

// Lines read ahead: enough to keep the handling busy, and with the longest lines still bounded.
const AHEAD: usize = 16;
