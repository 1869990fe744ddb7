use std::io;

use tokio::io::{AsyncWriteExt, Stdout, stdout};

use super::Event;

/// Standard output, a few whole lines at a time.
pub(super) struct Printer {
    stdout: Stdout,
    piece: Vec<u8>,
}

impl Printer {
    pub(super) fn new() -> Self {
        Self { stdout: stdout(), piece: Vec::with_capacity(PIECE) }
    }

    /// Prints and flushes lines until a piece is full; says how many those were.
    pub(super) async fn print<'a>(
        &mut self,
        events: impl IntoIterator<Item = &'a Event>,
    ) -> io::Result<usize> {
        self.piece.clear();
        let mut count = 0;
        for event in events {
            let text = event.message.text.as_bytes();
            if count > 0 && self.piece.len() + text.len() + 1 > PIECE {
                break;
            }
            self.piece.extend_from_slice(text);
            self.piece.push(b'\n');
            count += 1;
        }
        self.stdout.write_all(&self.piece).await?;
        self.stdout.flush().await?;
        Ok(count)
    }
}

// PIPE_BUF of Linux: a pipe takes so much as a whole or not at all, so a kill leaves no half line.
const PIECE: usize = 4096;
