use std::{
    io, thread,
    time::{Duration, Instant},
};

/// Asks until there is an answer; the error says what it was waiting for.
pub(super) fn wait_for<T>(
    what: &str,
    mut ask: impl FnMut() -> io::Result<Option<T>>,
) -> io::Result<T> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            let message = format!("waited {TIMEOUT:?} in vain for {what}");
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        thread::sleep(POLL_INTERVAL);
    }
}

// A failover on a machine that is busy with other tests.
const TIMEOUT: Duration = Duration::from_secs(60);

const POLL_INTERVAL: Duration = Duration::from_millis(10);
