use std::{
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// The bar on the terminal, if there is one and nobody else writes to it.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    shown: Instant,
}

impl Progress {
    /// `alone`: nobody else writes to the terminal. `length`: how many bytes will be read.
    pub(crate) fn new(alone: bool, length: Option<u64>) -> Self {
        let bar = (alone && io::stderr().is_terminal()).then(|| {
            // No colours, so nothing to ask NO_COLOR about.
            let (bar, template) = match length {
                Some(length) => {
                    (ProgressBar::new(length), "{wide_bar} {percent:>3} %  {msg}  {eta} left")
                }
                None => (ProgressBar::no_length(), "{spinner} {msg}  {elapsed}"),
            };
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            bar.set_style(
                ProgressStyle::with_template(template).expect("the template is constant"),
            );
            bar
        });
        Self { bar, shown: Instant::now() }
    }

    /// So many bytes were read.
    pub(crate) fn read(&self, offset: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(offset);
        }
    }

    /// So many lines have come to something.
    pub(crate) fn delivered(&mut self, count: u64) {
        if let Some(bar) = &self.bar
            && self.shown.elapsed() >= EVERY
        {
            self.shown = Instant::now();
            bar.set_message(format!("{count} delivered"));
        }
    }

    /// Prints a line above the bar.
    pub(crate) fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| output::note(text)),
            None => output::note(text),
        }
    }

    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

const EVERY: Duration = Duration::from_millis(100);
