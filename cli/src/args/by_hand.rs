use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{PURGE_EXAMPLES, PurgeArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum InboxVerb {
    /// Lists the claims of a consumer, and its messages that fail
    #[command(after_help = LIST_EXAMPLES)]
    List(ListArgs),
    /// Shows what is written about one message
    #[command(after_help = SHOW_EXAMPLES)]
    Show(SubjectArgs),
    /// Says what the next delivery of a message would come to, and why
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(SubjectArgs),
    /// Lets one message through again, with a note in the audit
    #[command(after_help = FORGET_EXAMPLES)]
    Forget(ForgetArgs),
    /// Shows how old duplicates were, and so how long the window must be
    #[command(after_help = AGES_EXAMPLES)]
    Ages(AgesArgs),
    /// Lists what people did by hand
    #[command(after_help = AUDIT_EXAMPLES)]
    Audit(AuditArgs),
    /// Removes the claims whose window is over, now instead of in the background
    #[command(after_help = PURGE_EXAMPLES)]
    Purge(PurgeArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadVerb {
    /// Lists dead letters, the newest first
    #[command(after_help = DEAD_LIST_EXAMPLES)]
    List(DeadListArgs),
    /// Shows one dead letter with its message
    #[command(after_help = DEAD_SHOW_EXAMPLES)]
    Show(DeadShowArgs),
    /// Lets dead letters through again, with a note in the audit
    #[command(after_help = REQUEUE_EXAMPLES)]
    Requeue(RequeueArgs),
    /// Deletes dead letters, with a note in the audit; redeliveries are still dropped
    #[command(after_help = DISCARD_EXAMPLES)]
    Discard(DiscardArgs),
}

/// Names one message.
#[derive(Debug, Args)]
pub(crate) struct SubjectArgs {
    /// Whose message [default: default]
    #[arg(long, value_name = "NAME", env = "TOWER_INBOX_CONSUMER")]
    pub(crate) consumer: Option<String>,

    /// The inbox key of the message, as reports and tables show it
    #[arg(long, value_name = "UUID")]
    pub(crate) key_value: Option<String>,

    /// Or the file with the message on one line [default: -, standard input]
    #[arg(long, value_name = "FILE")]
    pub(crate) message: Option<PathBuf>,

    /// What makes it the same message again, as for `consume`
    #[arg(long, value_name = "FIELDS", env = "TOWER_INBOX_KEY")]
    pub(crate) key: Option<String>,

    /// The kind of message, as for `consume` [default: empty]
    #[arg(long, value_name = "NAME", env = "TOWER_INBOX_KIND")]
    pub(crate) kind: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    #[command(flatten)]
    pub(crate) subject: SubjectArgs,

    /// Take it away from whoever has leased it
    #[arg(long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) deed: DeedArgs,
}

/// How something is done by hand.
#[derive(Debug, Args)]
pub(crate) struct DeedArgs {
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Who does it, for the audit [default: the user of the system]
    #[arg(long, value_name = "NAME", env = "TOWER_INBOX_ACTOR")]
    pub(crate) actor: Option<String>,
}

/// Which part of a list.
#[derive(Debug, Args)]
pub(crate) struct PageArgs {
    /// How many at once [default: 50]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) limit: Option<u32>,

    /// Go on where the page before ended
    #[arg(long, value_name = "PLACE")]
    pub(crate) after: Option<String>,

    /// Print all, not only the first page
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Whose claims [default: default]
    #[arg(long, value_name = "NAME", env = "TOWER_INBOX_CONSUMER")]
    pub(crate) consumer: Option<String>,

    /// Only those in this state: handled, leased, dead, expired or failing
    #[arg(long, value_name = "STATE")]
    pub(crate) state: Option<String>,

    #[command(flatten)]
    pub(crate) pages: PageArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AgesArgs {
    /// Whose duplicates [default: default]
    #[arg(long, value_name = "NAME", env = "TOWER_INBOX_CONSUMER")]
    pub(crate) consumer: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Only what was done to this consumer
    #[arg(long, value_name = "NAME")]
    pub(crate) consumer: Option<String>,

    /// Only what was done to this message
    #[arg(long, value_name = "UUID")]
    pub(crate) key_value: Option<String>,

    #[command(flatten)]
    pub(crate) pages: PageArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DeadListArgs {
    /// Only those of this consumer
    #[arg(long, value_name = "NAME", env = "TOWER_INBOX_CONSUMER")]
    pub(crate) consumer: Option<String>,

    /// Only those that nobody has requeued, or only the others: dead or requeued
    #[arg(long, value_name = "STATE", hide_possible_values = true)]
    pub(crate) state: Option<StateArg>,

    #[command(flatten)]
    pub(crate) pages: PageArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum StateArg {
    Dead,
    Requeued,
}

#[derive(Debug, Args)]
pub(crate) struct DeadShowArgs {
    /// The key of the letter
    #[arg(value_name = "UUID")]
    pub(crate) key: String,

    /// Whose letter [default: default]
    #[arg(long, value_name = "NAME", env = "TOWER_INBOX_CONSUMER")]
    pub(crate) consumer: Option<String>,

    /// Write the message to standard output as it was kept, and nothing else
    #[arg(long)]
    pub(crate) payload: bool,
}

/// Names some dead letters.
#[derive(Debug, Args)]
pub(crate) struct ChosenArgs {
    /// The keys of the letters
    #[arg(value_name = "UUID")]
    pub(crate) keys: Vec<String>,

    /// All of the consumer
    #[arg(long)]
    pub(crate) all: bool,

    /// Whose letters [default: default]
    #[arg(long, value_name = "NAME", env = "TOWER_INBOX_CONSUMER")]
    pub(crate) consumer: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RequeueArgs {
    #[command(flatten)]
    pub(crate) chosen: ChosenArgs,

    /// Requeue what was requeued before, too
    #[arg(long)]
    pub(crate) again: bool,

    /// Print the messages, one a line, for a broker; the report then goes to standard error
    #[arg(long)]
    pub(crate) print: bool,

    #[command(flatten)]
    pub(crate) deed: DeedArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DiscardArgs {
    #[command(flatten)]
    pub(crate) chosen: ChosenArgs,

    /// Yes, the messages of all of them may be lost
    #[arg(long)]
    pub(crate) yes: bool,

    #[command(flatten)]
    pub(crate) deed: DeedArgs,
}

const LIST_EXAMPLES: &str = "\
Examples:
  tower-inbox inbox list
  tower-inbox inbox list --consumer billing --state leased
  tower-inbox inbox list --all --format ndjson > claims.ndjson";

const SHOW_EXAMPLES: &str = "\
Examples:
  tower-inbox inbox show --key-value 67e55044-10b1-426f-9247-bb680e5fe0c8
  tower-inbox inbox show --message order.json --key order_id --format json";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  # Why was the first line dropped?
  head -n 1 orders.ndjson | tower-inbox inbox explain --key order_id

  tower-inbox inbox explain --consumer billing \\
      --key-value 67e55044-10b1-426f-9247-bb680e5fe0c8";

const FORGET_EXAMPLES: &str = "\
Examples:
  head -n 1 orders.ndjson | tower-inbox inbox forget --key order_id --dry-run

  tower-inbox inbox forget --consumer billing --actor ann \\
      --key-value 67e55044-10b1-426f-9247-bb680e5fe0c8";

const AGES_EXAMPLES: &str = "\
Examples:
  tower-inbox inbox ages
  tower-inbox inbox ages --consumer billing --format json";

const AUDIT_EXAMPLES: &str = "\
Examples:
  tower-inbox inbox audit
  tower-inbox inbox audit --key-value 67e55044-10b1-426f-9247-bb680e5fe0c8";

const DEAD_LIST_EXAMPLES: &str = "\
Examples:
  tower-inbox dead list
  tower-inbox dead list --consumer billing --state requeued --format ndjson";

const DEAD_SHOW_EXAMPLES: &str = "\
Examples:
  tower-inbox dead show 67e55044-10b1-426f-9247-bb680e5fe0c8
  tower-inbox dead show 67e55044-10b1-426f-9247-bb680e5fe0c8 --payload > message.json";

const REQUEUE_EXAMPLES: &str = "\
Examples:
  tower-inbox dead requeue 67e55044-10b1-426f-9247-bb680e5fe0c8
  tower-inbox dead requeue --all --consumer billing

  # Back to the broker:
  tower-inbox dead requeue --all --print | kafka-console-producer.sh --topic orders ...";

const DISCARD_EXAMPLES: &str = "\
Examples:
  tower-inbox dead discard 67e55044-10b1-426f-9247-bb680e5fe0c8
  tower-inbox dead discard --all --dry-run";
