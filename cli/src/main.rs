//! `tower-inbox`: the inbox for people without a Rust program of their own.

// Without a database there is nothing to do but to say so.
#![cfg_attr(not(feature = "_database"), allow(unused))]

mod args;
mod completions;
mod config;
mod consume;
mod database;
mod dead;
mod dead_letters;
mod duration;
mod ended;
mod error;
mod events;
mod exit;
mod explained;
mod inbox;
mod input;
mod max_line;
mod message;
mod migrate;
mod output;
mod pages;
mod progress;
mod signals;
mod status;
mod subject;
mod text;
mod url;

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches};
use tokio::runtime::{Builder, Runtime};

use args::{Cli, Verb};
use config::Config;
use database::{DEFAULT_URL, Location};
use error::Failure;
use exit::Exit;

fn main() -> ExitCode {
    // Ends the process itself for wrong usage (2) and for `--help` (0).
    let matches = Cli::command().get_matches();
    let ended = Cli::from_arg_matches(&matches)
        .map_err(|error| error.exit())
        .and_then(|cli| run(cli, &matches));
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.print();
            failure.exit().into()
        }
    }
}

fn run(cli: Cli, matches: &ArgMatches) -> Result<Exit, Failure> {
    let Cli { global, verb } = cli;
    if let Verb::Completions(args) = &verb {
        return completions::completions(args);
    }
    let config = Config::read(global.config.as_deref())?;
    let format = global.format.or(config.format).unwrap_or_default();
    let runtime = runtime()?;
    if let Verb::Events(verb) = verb {
        // They have a store of their own, and may be all that was built in.
        let ended = runtime.block_on(events::events(verb, config.events, format));
        runtime.shutdown_background();
        return ended;
    }
    let url = global.database.or(config.database);
    let location = Location::parse(url.as_deref().unwrap_or(DEFAULT_URL))?;
    let ended = runtime.block_on(async {
        match verb {
            Verb::Consume(args) => {
                let matches = matches.subcommand_matches("consume");
                let settings = consume::Settings::new(*args, config.consume, matches)?;
                consume::consume(settings, &location, format).await
            }
            Verb::Migrate(args) => migrate::migrate(&args, &location, format).await,
            Verb::Status => status::status(&location, format).await,
            Verb::Inbox(verb) => inbox::inbox(verb, config.consume, &location, format).await,
            Verb::Dead(verb) => dead::dead(verb, config.consume, &location, format).await,
            Verb::Events(_) | Verb::Completions(_) => unreachable!("handled above"),
        }
    });
    // Does not wait for a write to a standard output that nobody reads.
    runtime.shutdown_background();
    ended
}

// One thread for all that waits: handlers wait for the database or for a program, and SQLite has a
// thread of its own.
fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::stopped("could not start").because(error))
}
