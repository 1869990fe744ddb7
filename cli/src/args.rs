mod by_hand;
mod events;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, builder::BoolishValueParser};
use clap_complete::Shell;
use serde::Deserialize;

use crate::output::Format;

pub(crate) use by_hand::{
    AgesArgs, AuditArgs, ChosenArgs, DeadListArgs, DeadShowArgs, DeadVerb, DiscardArgs, ForgetArgs,
    InboxVerb, ListArgs, PageArgs, RequeueArgs, StateArg, SubjectArgs,
};
pub(crate) use events::{CheckArgs, ClearArgs, EventsVerb, StoreArgs};

/// A message delivered twice takes effect once.
#[derive(Debug, Parser)]
#[command(name = "tower-inbox", version, after_help = EXAMPLES, subcommand_value_name = "VERB")]
#[command(subcommand_help_heading = "Verbs", disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// Where the inbox is: sqlite://FILE or postgres://USER@HOST/NAME [default:
    /// sqlite://tower-inbox.db]
    // The value may hold a password, so help does not show it.
    #[arg(long, global = true, value_name = "URL")]
    #[arg(env = "TOWER_INBOX_DATABASE", hide_env_values = true)]
    pub(crate) database: Option<String>,

    /// The config file [default: tower-inbox.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE", env = "TOWER_INBOX_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// How to print what was found: text, json or ndjson [default: text]
    #[arg(long, global = true, value_name = "FORMAT", env = "TOWER_INBOX_FORMAT")]
    #[arg(hide_possible_values = true)]
    pub(crate) format: Option<Format>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Reads NDJSON and handles each message once
    #[command(after_help = CONSUME_EXAMPLES)]
    Consume(Box<ConsumeArgs>),
    /// Makes or updates the tables of the inbox
    #[command(after_help = MIGRATE_EXAMPLES)]
    Migrate(MigrateArgs),
    /// Shows the version of the tables, and each consumer with its claims
    #[command(after_help = STATUS_EXAMPLES)]
    Status,
    /// Looks after the claims in the inbox
    #[command(subcommand, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
    #[command(after_help = INBOX_EXAMPLES, disable_help_subcommand = true)]
    Inbox(InboxVerb),
    /// Looks after the messages that failed too often
    #[command(subcommand, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
    #[command(after_help = DEAD_EXAMPLES, disable_help_subcommand = true)]
    Dead(DeadVerb),
    /// Tells events that were seen within a window from new ones
    #[command(subcommand, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
    #[command(after_help = events::EVENTS_EXAMPLES, disable_help_subcommand = true)]
    Events(EventsVerb),
    /// Prints a completion script for a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
}

/// The flags of `consume`, and the keys of the config file's table of the same name.
///
/// Values are texts here and are checked in one place, whichever way they came.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct ConsumeArgs {
    /// The NDJSON file to read, or - for standard input [default: -]
    #[arg(long, value_name = "FILE", env = "TOWER_INBOX_INPUT")]
    pub(crate) input: Option<PathBuf>,

    /// What makes it the same message again: fields like order_id,customer.email (a trailing ?
    /// where one may be missing), or . for the whole line
    #[arg(long, value_name = "FIELDS", env = "TOWER_INBOX_KEY")]
    pub(crate) key: Option<String>,

    /// The kind of message, as the type's name in a program that shares the consumer [default:
    /// empty]
    #[arg(long, value_name = "NAME", env = "TOWER_INBOX_KIND")]
    pub(crate) kind: Option<String>,

    /// Who handles the messages; each consumer handles a message once [default: default]
    #[arg(long, value_name = "NAME", env = "TOWER_INBOX_CONSUMER")]
    pub(crate) consumer: Option<String>,

    /// How long a message is recognised after it was handled [default: 24h]
    #[arg(long, value_name = "TIME", env = "TOWER_INBOX_WINDOW")]
    pub(crate) window: Option<String>,

    /// Insert each message into this table, in the transaction of its claim [default: messages]
    #[arg(long, value_name = "TABLE", env = "TOWER_INBOX_INTO")]
    #[arg(help_heading = "What handling is (one of)")]
    pub(crate) into: Option<String>,

    /// Run this shell command for each message, with the line on its standard input; exit code 0
    /// completes it
    #[arg(long, value_name = "COMMAND")]
    #[arg(env = "TOWER_INBOX_EXEC", hide_env_values = true)]
    #[arg(help_heading = "What handling is (one of)")]
    pub(crate) exec: Option<String>,

    /// Print each message to standard output, at least once; the report then goes to standard error
    #[arg(long, env = "TOWER_INBOX_STDOUT", value_parser = BoolishValueParser::new())]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(hide_possible_values = true, value_name = "BOOL")]
    #[arg(help_heading = "What handling is (one of)")]
    pub(crate) stdout: Option<bool>,

    /// How long a message stays reserved for a command that died with us; --exec only [default:
    /// 30s]
    #[arg(long, value_name = "TIME", env = "TOWER_INBOX_LEASE")]
    pub(crate) lease: Option<String>,

    /// How long to wait for a message that another run is handling [default: 5s, with --exec the
    /// lease and 2s]
    #[arg(long, value_name = "TIME", env = "TOWER_INBOX_IN_FLIGHT_WAIT")]
    pub(crate) in_flight_wait: Option<String>,

    /// Give up on a message that failed so many times, and keep it among the dead letters of the
    /// database [default: never]
    #[arg(long, value_name = "NUMBER", env = "TOWER_INBOX_MAX_ATTEMPTS")]
    pub(crate) max_attempts: Option<u32>,

    /// How many messages to handle at once; with more than one they end in any order [default: 1]
    #[arg(long, value_name = "NUMBER", env = "TOWER_INBOX_WORKERS")]
    pub(crate) workers: Option<usize>,

    /// The longest line; a longer one becomes a dead letter [default: 16MiB]
    #[arg(long, value_name = "BYTES", env = "TOWER_INBOX_MAX_LINE")]
    pub(crate) max_line: Option<String>,

    /// Where to put lines that are of no use; written anew by each run [default: the input's name
    /// with .dead.ndjson]
    #[arg(long, value_name = "FILE", env = "TOWER_INBOX_DEAD_LETTERS")]
    pub(crate) dead_letters: Option<PathBuf>,

    /// Make or update the tables in PostgreSQL first (in an SQLite file this is always done)
    #[arg(long, env = "TOWER_INBOX_MIGRATE", value_parser = BoolishValueParser::new())]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(hide_possible_values = true, value_name = "BOOL")]
    pub(crate) migrate: Option<bool>,
}

#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// Take the tables away down to a version; 0 removes all. Needs --yes
    #[arg(long, value_name = "VERSION")]
    pub(crate) down: Option<u32>,

    /// Yes, the claims may be lost
    #[arg(long, requires = "down")]
    pub(crate) yes: bool,

    /// Print the SQL for another tool instead of running it
    #[arg(long)]
    pub(crate) print: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PurgeArgs {
    /// Only count them
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  tower-inbox consume --input orders.ndjson --key order_id
  tower-inbox status
  tower-inbox events check --id event_id < events.ndjson
  tower-inbox migrate --database postgres://app@db.example.com/shop

Values come from flags, else TOWER_INBOX_… variables, else tower-inbox.toml.
Exit codes: 0 done, 1 stopped on the way, 2 wrong usage.";

const CONSUME_EXAMPLES: &str = "\
Examples:
  # Each order once into the table `messages` of tower-inbox.db; run it twice:
  tower-inbox consume --input orders.ndjson --key order_id

  # Into a table of a PostgreSQL database, for a week:
  tower-inbox consume --input orders.ndjson --key order_id,customer.email \\
      --database postgres://app@db.example.com/shop --migrate --into orders --window 7d

  # Each webhook once to a program, four at a time:
  tail -n +1 -F webhooks.jsonl | tower-inbox consume --key . --workers 4 \\
      --exec 'curl --fail --silent --json @- https://example.com/hook'

  # As a filter:
  cat orders.ndjson | tower-inbox consume --key order_id --stdout > once.ndjson";

const MIGRATE_EXAMPLES: &str = "\
Examples:
  tower-inbox migrate --database postgres://app@db.example.com/shop
  tower-inbox migrate --database postgres:// --print > inbox.sql
  tower-inbox migrate --database postgres://app@db.example.com/shop --down 0 --yes";

const STATUS_EXAMPLES: &str = "\
Examples:
  tower-inbox status
  tower-inbox status --database postgres://app@db.example.com/shop --format json";

const INBOX_EXAMPLES: &str = "\
Examples:
  # Why was this order dropped?
  head -n 1 orders.ndjson | tower-inbox inbox explain --key order_id

  # Let it through again:
  head -n 1 orders.ndjson | tower-inbox inbox forget --key order_id

  # How long must the window be?
  tower-inbox inbox ages";

const DEAD_EXAMPLES: &str = "\
Examples:
  # What failed, why, and once more:
  tower-inbox dead list
  tower-inbox dead requeue --all
  tower-inbox consume --input orders.ndjson --key order_id --max-attempts 5";

const PURGE_EXAMPLES: &str = "\
Examples:
  tower-inbox inbox purge --dry-run
  tower-inbox inbox purge --database postgres://app@db.example.com/shop";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  tower-inbox completions bash > ~/.local/share/bash-completion/completions/tower-inbox";
