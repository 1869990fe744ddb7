use std::pin::pin;

use crate::signals::Signals;

/// The first signal lets what is under way end, the second does not.
pub(super) struct Interrupts {
    signals: Signals,
    came: bool,
}

/// A second signal came before it had ended.
#[derive(Debug)]
pub(super) struct Abandoned;

impl Interrupts {
    pub(super) fn new(signals: Signals) -> Self {
        Self { signals, came: false }
    }

    /// Whether a signal came, so that nothing new is begun.
    pub(super) fn came(&self) -> bool {
        self.came
    }

    /// Waits for what may be dropped at the first signal; `None` if one came.
    pub(super) async fn until<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        if self.came {
            return None;
        }
        tokio::select! {
            biased;
            () = self.signals.next() => {
                self.came = true;
                None
            }
            output = work => Some(output),
        }
    }

    /// Waits for what is to end all the same, unless people insist.
    pub(super) async fn finish<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, Abandoned> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                output = &mut work => return Ok(output),
                () = self.signals.next() => {
                    if self.came {
                        return Err(Abandoned);
                    }
                    self.came = true;
                }
            }
        }
    }
}
