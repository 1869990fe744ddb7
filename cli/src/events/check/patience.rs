use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Waits before a line is claimed again that somebody else has.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// Which line, and since when.
    line: Option<(u64, Instant)>,
    told: bool,
    pause: Duration,
}

impl Patience {
    /// Waits longer each time for one line. Says which line it is, once, when that takes a while.
    pub(super) async fn wait(&mut self, line: u64, tell: impl FnOnce(&str)) {
        let since = match self.line {
            Some((same, since)) if same == line => since,
            _ => {
                self.pause = SHORTEST;
                self.line.insert((line, Instant::now())).1
            }
        };
        if !self.told && since.elapsed() >= TELL {
            self.told = true;
            tell(&format!(
                "line {line} is with another run; waiting until it is printed there or its lease \
                 is over"
            ));
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 3 / 2).min(LONGEST);
    }
}

// Other runs hold a line for as long as it takes to print a batch.
const SHORTEST: Duration = Duration::from_millis(2);
// One question in that time is no load, and nobody waits longer for a lease than this.
const LONGEST: Duration = Duration::from_millis(250);
const TELL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_pause_grows_for_a_line_and_begins_anew_for_the_next() {
        let mut patience = Patience::default();
        let mut told = Vec::new();
        for _ in 0..40 {
            patience.wait(7, |text| told.push(text.to_owned())).await;
        }
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("line 7 "), "{told:?}");
        let start = Instant::now();
        patience.wait(7, |_| panic!("told twice")).await;
        assert_eq!(start.elapsed(), LONGEST);
        let start = Instant::now();
        patience.wait(8, |_| panic!("told twice")).await;
        assert_eq!(start.elapsed(), SHORTEST);
    }
}
