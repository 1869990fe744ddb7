//! Prints the lines of a stream that were not seen within the window.

mod budget;
mod event;
mod filter;
mod interrupts;
mod lines;
mod patience;
mod printer;
mod report;
mod settings;

use std::io::{self, IsTerminal};

use super::settings::Settings as FileSettings;
use crate::{
    args::CheckArgs, dead_letters, error::Failure, exit::Exit, input::Input, output,
    output::Format, progress::Progress, signals::Signals,
};

use event::Event;
use filter::Filter;
use interrupts::Interrupts;
use patience::Patience;
use printer::Printer;
use report::{Report, Tally};
use settings::Settings;

/// Reads the stream to its end, or until something stops it.
pub(super) async fn check(
    args: CheckArgs,
    file: toml::Table,
    format: Format,
) -> Result<Exit, Failure> {
    let (settings, store) = Settings::new(args, FileSettings::new(file))?;
    // Before the store is asked, so that a name that was mistyped leaves nothing behind.
    let input = Input::open(&settings.input)?;
    input.keep_apart(&settings.dead_letters, None)?;
    // Before a line can be claimed.
    let signals = Signals::new()
        .map_err(|error| Failure::stopped("could not wait for signals").because(error))?;
    let mut interrupts = Interrupts::new(signals);
    let connecting = interrupts.until(store.connect(event::id())).await;
    let Some(events) = connecting else { return Ok(Exit::Stopped) };
    let events = events.map_err(|error| store.failure(error))?;
    let dead_letters = dead_letters::create(&settings.dead_letters, &settings.input)?;

    let alone = !io::stdout().is_terminal();
    let filter = Filter {
        at_most_once: settings.at_most_once,
        progress: Progress::new(alone, input.length()),
        printer: Printer::new(),
        tally: Tally::new(),
        dead_letters,
        interrupts,
        patience: Patience::default(),
        events: events.clone(),
        store: &store,
    };
    let (ended, tally, dead_letters) = filter.run(lines::read(input, &settings)).await;

    let report = Report::new(&store, &tally, &events.stats());
    let text = format.render(&report, |report| report.text(&dead_letters));
    output::note(text.trim_end());
    if let Some(hint) = tally.hint() {
        output::note(&hint);
    }
    ended.into_exit("what was printed stays known, unless --store is the memory of the run")
}
