use std::{path::PathBuf, time::Duration};

use tower_inbox::key::json::JsonFields;

use crate::{
    args::CheckArgs,
    dead_letters,
    duration::duration,
    error::Failure,
    events::{settings::Settings as FileSettings, store::Store},
    input,
    max_line::max_line,
};

/// What a run shall do with lines, out of flags, environment and config file, all checked.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) input: PathBuf,
    pub(super) id: JsonFields,
    pub(super) kind: String,
    pub(super) max_id: usize,
    pub(super) max_line: usize,
    pub(super) dead_letters: PathBuf,
    pub(super) at_most_once: bool,
}

impl Settings {
    /// Takes each value from `args`, else from `file`; what is the store's goes there.
    pub(super) fn new(args: CheckArgs, mut file: FileSettings) -> Result<(Self, Store), Failure> {
        let id = args.id.or(file.take("id")?).ok_or_else(|| {
            Failure::usage("there is no id: what makes it the same event again?")
                .advice("give --id FIELDS, such as --id event_id, or --id . for the whole line")
        })?;
        let id =
            id.parse().map_err(|error| Failure::usage(format!("--id {id:?}")).because(error))?;
        let kind = args.kind.or(file.take("kind")?).unwrap_or_default();
        let max_line = max_line(args.max_line.or(file.take("max-line")?).as_deref())?;
        let input = args.input.or(file.take("input")?);
        let dead_letters = args.dead_letters.or(file.take("dead-letters")?);
        let at_most_once = args.at_most_once.or(file.take("at-most-once")?).unwrap_or(false);

        file.put("window", window(args.window)?);
        file.put("slot", time("--slot", args.slot)?);
        file.put("lease", time("--lease", args.lease)?);
        file.put("sliding", args.sliding);
        file.put("expected_events", expected(args.expected_events)?);
        let open = args.fail_open.or(file.take("fail-open")?);
        file.put("failure_policy", open.map(|open| if open { "open" } else { "closed" }));
        // Lines with a longer one become dead letters, before the store sees them.
        file.put_default("max_id_bytes", MAX_ID);
        let max_id = file.integer("max_id_bytes").unwrap_or(usize::MAX);
        let store = Store::new(args.store, file)?;

        let input = match input {
            Some(input) => input,
            None => input::default_path()?,
        };
        let dead_letters = dead_letters.unwrap_or_else(|| dead_letters::default_path(&input));
        Ok((Self { input, id, kind, max_id, max_line, dead_letters, at_most_once }, store))
    }
}

/// Looks at a time before it is put over that of the file, so that the flag is named.
fn time(flag: &str, value: Option<String>) -> Result<Option<String>, Failure> {
    value.map(|text| duration(flag, &text).map(|_: Duration| text)).transpose()
}

fn window(value: Option<String>) -> Result<Option<String>, Failure> {
    if value.as_deref() == Some("none") { Ok(value) } else { time("--window", value) }
}

fn expected(value: Option<u64>) -> Result<Option<i64>, Failure> {
    let integer = |number| {
        i64::try_from(number)
            .map_err(|_| Failure::usage(format!("--expected-events {number}: nobody has so many")))
    };
    value.map(integer).transpose()
}

// What the library allows if nobody says otherwise.
const MAX_ID: i64 = 64 * 1024;
