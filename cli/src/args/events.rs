use std::path::PathBuf;

use clap::{Args, Subcommand, builder::BoolishValueParser};

#[derive(Debug, Subcommand)]
pub(crate) enum EventsVerb {
    /// Prints the lines that were not seen within the window, as a filter
    #[command(after_help = CHECK_HELP)]
    Check(Box<CheckArgs>),
    /// Shows what the store knows of itself
    #[command(after_help = STATS_EXAMPLES)]
    Stats(StoreArgs),
    /// Says whether the store can keep what is promised; exit code 0 if it can, 1 if not
    #[command(after_help = HEALTH_EXAMPLES)]
    Health(StoreArgs),
    /// Forgets all events of a namespace
    #[command(after_help = CLEAR_EXAMPLES)]
    Clear(ClearArgs),
}

/// Where events are remembered.
#[derive(Debug, Default, Args)]
pub(crate) struct StoreArgs {
    /// Where events are remembered: memory (of this run, which forgets at its end),
    /// redis://HOST, redis-cluster://HOST,HOST, redis-sentinel://HOST,HOST/MASTER or
    /// postgres://USER@HOST/NAME [default: memory]
    // The value may hold a password, so help does not show it.
    #[arg(long, value_name = "URL", env = "TOWER_INBOX_STORE", hide_env_values = true)]
    pub(crate) store: Option<String>,

    /// What keeps streams in one store apart [default: default]
    #[arg(long, value_name = "NAME", env = "TOWER_INBOX_EVENTS_NAMESPACE")]
    pub(crate) namespace: Option<String>,

    /// Keep whole ids instead of signatures of 9 bytes, of which two may be equal once in 10^16;
    /// for all uses of a namespace, from the first one on
    #[arg(long, env = "TOWER_INBOX_EXACT_IDS", value_parser = BoolishValueParser::new())]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(hide_possible_values = true, value_name = "BOOL")]
    pub(crate) exact_ids: Option<bool>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct CheckArgs {
    /// What makes it the same event again: fields like id,customer.email (a trailing ? where one
    /// may be missing), or . for the whole line
    #[arg(long, value_name = "FIELDS", env = "TOWER_INBOX_ID")]
    pub(crate) id: Option<String>,

    /// The kind of event, as the type's name in a program that shares the namespace through the
    /// derive [default: empty]
    #[arg(long, value_name = "NAME", env = "TOWER_INBOX_KIND")]
    pub(crate) kind: Option<String>,

    /// The NDJSON file to read, or - for standard input [default: -]
    #[arg(long, value_name = "FILE", env = "TOWER_INBOX_INPUT")]
    pub(crate) input: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) store: StoreArgs,

    /// How long an event is remembered after it was printed; none is until it is cleared [default:
    /// 1h]
    #[arg(long, value_name = "TIME", env = "TOWER_INBOX_EVENTS_WINDOW")]
    pub(crate) window: Option<String>,

    /// How exactly the window ends: an event is forgotten less than this after it [default: a
    /// quarter of the window]
    #[arg(long, value_name = "TIME", env = "TOWER_INBOX_EVENTS_SLOT")]
    pub(crate) slot: Option<String>,

    /// Count the window from the last time an event came, not from the first
    #[arg(long, env = "TOWER_INBOX_EVENTS_SLIDING", value_parser = BoolishValueParser::new())]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(hide_possible_values = true, value_name = "BOOL")]
    pub(crate) sliding: Option<bool>,

    /// How long a line stays reserved for a run that died before it had printed it [default: 1m]
    #[arg(long, value_name = "TIME", env = "TOWER_INBOX_EVENTS_LEASE")]
    pub(crate) lease: Option<String>,

    /// Mark a line as seen before it is printed, in one request instead of two: a crash, or a
    /// reader that goes away, then loses lines
    #[arg(long, env = "TOWER_INBOX_AT_MOST_ONCE", value_parser = BoolishValueParser::new())]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(hide_possible_values = true, value_name = "BOOL")]
    pub(crate) at_most_once: Option<bool>,

    /// Print lines without a check while the store is away, duplicates included, instead of
    /// stopping
    #[arg(long, env = "TOWER_INBOX_FAIL_OPEN", value_parser = BoolishValueParser::new())]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(hide_possible_values = true, value_name = "BOOL")]
    pub(crate) fail_open: Option<bool>,

    /// How many events a window will hold, to save some memory in the first one [default: not
    /// known]
    #[arg(long, value_name = "NUMBER", env = "TOWER_INBOX_EVENTS_EXPECTED_EVENTS")]
    pub(crate) expected_events: Option<u64>,

    /// The longest line; a longer one becomes a dead letter [default: 16MiB]
    #[arg(long, value_name = "BYTES", env = "TOWER_INBOX_MAX_LINE")]
    pub(crate) max_line: Option<String>,

    /// Where to put lines that are of no use; written anew by each run [default: the input's name
    /// with .dead.ndjson]
    #[arg(long, value_name = "FILE", env = "TOWER_INBOX_DEAD_LETTERS")]
    pub(crate) dead_letters: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ClearArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,

    /// Yes, what was seen may come again
    #[arg(long)]
    pub(crate) yes: bool,

    /// Only say what would be forgotten
    #[arg(long)]
    pub(crate) dry_run: bool,
}

pub(super) const EVENTS_EXAMPLES: &str = "\
Examples:
  # Each event once, out of a stream that repeats some:
  tower-inbox events check --id event_id < events.ndjson > once.ndjson

  # Is the Redis server set up so that it remembers?
  tower-inbox events health --store redis://cache.example.com";

const CHECK_HELP: &str = "\
A line is claimed, printed, and then confirmed as seen. So it is printed at least once: a crash in
between prints it again the next time, and does not lose it. A line that another run has claimed is
waited for, until it is confirmed there or the lease is over. With --at-most-once it is the other way
round: nothing is printed twice, and a crash loses lines.

Standard output has the new lines, in order and as they came; the report goes to standard error.
Exit codes: 0 read to the end, 1 stopped on the way, 2 wrong usage.

Examples:
  # Within one run, with nothing to install:
  tower-inbox events check --id event_id < events.ndjson > once.ndjson

  # Over many runs and machines, for ten minutes:
  tail -n +1 -F webhooks.jsonl \\
      | tower-inbox events check --id . --window 10m --store redis://cache.example.com \\
      | notify";

const STATS_EXAMPLES: &str = "\
Examples:
  tower-inbox events stats --store redis://cache.example.com
  tower-inbox events stats --store redis://cache.example.com --namespace webhooks --format json";

const HEALTH_EXAMPLES: &str = "\
Examples:
  tower-inbox events health --store redis://cache.example.com || page-somebody";

const CLEAR_EXAMPLES: &str = "\
Examples:
  tower-inbox events clear --store redis://cache.example.com --namespace webhooks --dry-run
  tower-inbox events clear --store redis://cache.example.com --namespace webhooks --yes";
