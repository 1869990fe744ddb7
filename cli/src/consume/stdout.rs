use std::{error::Error, fmt, io, sync::Arc};

use tokio::{
    io::{AsyncWriteExt, Stdout, stdout},
    sync::Mutex,
};
use tower_inbox::{BoxError, inbox::Received};

use super::Message;

/// Standard output, one line at a time.
pub(super) fn new() -> Mutex<Stdout> {
    Mutex::new(stdout())
}

/// Prints the line; then its claim commits. A crash in between prints it again the next time.
pub(super) async fn handle<C: Send + 'static>(
    stdout: impl AsRef<Mutex<Stdout>>,
    received: Received<Arc<Message>, C>,
) -> Result<(), BoxError> {
    let mut stdout = stdout.as_ref().lock().await;
    let print = async {
        stdout.write_all(received.message.text.as_bytes()).await?;
        stdout.write_all(b"\n").await?;
        stdout.flush().await
    };
    print.await.map_err(|error| OutputFailed(error).into())
}

/// Nobody takes our output any more, or its disk is full.
#[derive(Debug)]
pub(super) struct OutputFailed(pub(super) io::Error);

impl fmt::Display for OutputFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("could not write to standard output")
    }
}

impl Error for OutputFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}
