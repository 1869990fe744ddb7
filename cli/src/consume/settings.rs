use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use clap::{ArgMatches, parser::ValueSource};
use tower_inbox::{inbox::Window, key::json::JsonFields};

use crate::{
    args::ConsumeArgs, database::TableName, dead_letters, duration::duration, error::Failure,
    input, max_line::max_line,
};

/// What a run shall do, out of flags, environment and config file, all checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(super) input: PathBuf,
    pub(super) key: JsonFields,
    pub(super) kind: String,
    pub(super) consumer: String,
    pub(super) window: Window,
    pub(super) handling: Handling,
    pub(super) lease: Duration,
    pub(super) in_flight_wait: Duration,
    /// Never gives up on a message that fails if absent.
    pub(super) max_attempts: Option<u32>,
    pub(super) workers: usize,
    pub(super) max_line: usize,
    pub(super) dead_letters: PathBuf,
    pub(super) migrate: bool,
}

/// What handling a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Handling {
    Into(TableName),
    Exec(Arc<str>),
    Stdout,
}

impl Handling {
    /// Whether nobody else writes to a terminal that standard error may be.
    pub(super) fn leaves_terminal(&self) -> bool {
        match self {
            Self::Into(_) => true,
            // A command's output comes through.
            Self::Exec(_) => false,
            Self::Stdout => !io::stdout().is_terminal(),
        }
    }
}

impl Settings {
    /// Takes each value from `args`, else from `file`. `matches` tells flags from the environment.
    pub(crate) fn new(
        args: ConsumeArgs,
        file: ConsumeArgs,
        matches: Option<&ArgMatches>,
    ) -> Result<Self, Failure> {
        let handling = handling(&args, &file, matches)?;
        macro_rules! value {
            ($name:ident) => {
                args.$name.or(file.$name)
            };
        }
        let key = value!(key).ok_or_else(|| {
            Failure::usage("there is no key: what makes it the same message again?")
                .advice("give --key FIELDS, such as --key order_id, or --key . for the whole line")
        })?;
        let key =
            key.parse().map_err(|error| Failure::usage(format!("--key {key:?}")).because(error))?;
        let consumer = value!(consumer).unwrap_or_else(|| "default".into());
        if consumer.is_empty() || consumer.contains('\0') {
            return Err(Failure::usage("--consumer needs a name"));
        }
        let window = match value!(window) {
            Some(text) => lasting("--window", &text)?,
            None => Window::default(),
        };
        let lease = match value!(lease) {
            Some(text) => lasting("--lease", &text)?.into(),
            None => LEASE,
        };
        let in_flight_wait = match value!(in_flight_wait) {
            Some(text) => duration("--in-flight-wait", &text)?,
            None if matches!(handling, Handling::Exec(_)) => lease + AFTER_LEASE,
            None => IN_FLIGHT_WAIT,
        };
        let max_attempts = value!(max_attempts);
        if max_attempts == Some(0) {
            return Err(Failure::usage("--max-attempts 0: a message is tried at least once"));
        }
        let workers = value!(workers).unwrap_or(1);
        if !(1..=MOST_WORKERS).contains(&workers) {
            return Err(Failure::usage(format!(
                "--workers {workers}: there can be 1 to {MOST_WORKERS}"
            )));
        }
        let max_line = max_line(value!(max_line).as_deref())?;
        let input = match value!(input) {
            Some(input) => input,
            None => input::default_path()?,
        };
        let dead_letters =
            value!(dead_letters).unwrap_or_else(|| dead_letters::default_path(&input));
        Ok(Self {
            key,
            kind: value!(kind).unwrap_or_default(),
            consumer,
            window,
            handling,
            lease,
            in_flight_wait,
            max_attempts,
            workers,
            max_line,
            dead_letters,
            input,
            migrate: value!(migrate).unwrap_or(false),
        })
    }
}

/// Finds the one way to handle messages: of the flags, else of the environment, else of the file.
fn handling(
    args: &ConsumeArgs,
    file: &ConsumeArgs,
    matches: Option<&ArgMatches>,
) -> Result<Handling, Failure> {
    let from = |source| {
        move |id: &str| matches.and_then(|matches| matches.value_source(id)) == Some(source)
    };
    let chosen = match chosen(args, from(ValueSource::CommandLine))? {
        Some(handling) => Some(handling),
        None => match chosen(args, from(ValueSource::EnvVariable))? {
            Some(handling) => Some(handling),
            None => chosen(file, |_| true)?,
        },
    };
    Ok(chosen.unwrap_or_else(|| Handling::Into(TableName { schema: None, name: TABLE.into() })))
}

fn chosen(args: &ConsumeArgs, counts: impl Fn(&str) -> bool) -> Result<Option<Handling>, Failure> {
    let mut chosen = Vec::new();
    if let Some(table) = args.into.as_ref().filter(|_| counts("into")) {
        let table = table.parse().map_err(|reason| Failure::usage(format!("--into: {reason}")))?;
        chosen.push(Handling::Into(table));
    }
    if let Some(command) = args.exec.as_ref().filter(|_| counts("exec")) {
        if command.trim().is_empty() {
            return Err(Failure::usage("--exec needs a command"));
        }
        chosen.push(Handling::Exec(command.as_str().into()));
    }
    if args.stdout == Some(true) && counts("stdout") {
        chosen.push(Handling::Stdout);
    }
    if chosen.len() > 1 {
        return Err(Failure::usage("--into, --exec and --stdout exclude each other")
            .advice("choose one of them"));
    }
    Ok(chosen.pop())
}

fn lasting(flag: &str, text: &str) -> Result<Window, Failure> {
    Window::try_from(duration(flag, text)?)
        .map_err(|_| Failure::usage(format!("{flag} {text}: it must be 1 second to 10 years")))
}

const TABLE: &str = "messages";
// A slow web request, with room.
const LEASE: Duration = Duration::from_secs(30);
// Leases end on whole seconds, rounded up.
const AFTER_LEASE: Duration = Duration::from_secs(2);
// A transaction of somebody else ends within this, or its process is stuck.
const IN_FLIGHT_WAIT: Duration = Duration::from_secs(5);
// Above this the database is the limit.
const MOST_WORKERS: usize = 1024;
