use super::shard::HASH_BITS;
use crate::redis::Script;

/// The scripts of one way to keep ids.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) look: Script,
    pub(super) mark: Script,
    pub(super) claim: Script,
    pub(super) confirm: Script,
    pub(super) release: Script,
    pub(super) clear: Script,
    pub(super) adopt: Script,
}

/// What differs between the ways to keep ids, for the places in the scripts that begin with `@`.
///
/// Compact ids are in the text of the events, exact ones come behind all arguments that have a name.
struct Way {
    /// The command that looks for a member.
    look: &'static str,
    /// The command that adds one, and what it is called with.
    add: &'static str,
    /// How many members a bucket is made for.
    fill: u32,
    /// How many characters an event has without and with a token.
    plain: u32,
    claimed: u32,
    /// Where its parts are: `o` is what comes before it, `at` its place.
    member: &'static str,
    token: &'static str,
    field: &'static str,
}

impl Scripts {
    pub(super) fn new(exact: bool) -> Self {
        let way = if exact { EXACT } else { COMPACT };
        let script = |parts: &[&str]| {
            let mut text = parts.concat();
            for (place, value) in [
                ("@LOOK", way.look),
                ("@ADD", way.add),
                ("@FILL", &way.fill.to_string()),
                ("@BITS", &HASH_BITS.to_string()),
                ("@PLAIN", &way.plain.to_string()),
                ("@CLAIMED", &way.claimed.to_string()),
                ("@TOKEN", way.token),
                ("@FIELD", way.field),
                ("@MEMBER", way.member),
            ] {
                text = text.replace(place, value);
            }
            Script::new(text)
        };
        Self {
            look: script(&[SHARD, LOOK]),
            mark: script(&[SHARD, OPEN, MARK]),
            claim: script(&[SHARD, CLAIMS, CLAIM]),
            confirm: script(&[SHARD, OPEN, CLAIMS, CONFIRM]),
            release: script(&[SHARD, CLAIMS, RELEASE]),
            clear: script(&[CLEAR]),
            adopt: script(&[ADOPT]),
        }
    }
}

/// Integers in sets, which Redis keeps as sorted arrays while there are at most 512
/// (`set-max-intset-entries`).
///
/// The mean of a bucket in a full table is five sigma below that, with a Poisson spread, so hardly one of
/// thousands goes over, which costs memory and nothing else. An integer is sent as 19 digits.
const COMPACT: Way = Way {
    look: "SISMEMBER",
    add: "'SADD', key, member",
    fill: 410,
    plain: 39,
    claimed: 55,
    member: "cut(events, o + 21, o + 39)",
    token: "cut(events, o + 40, o + 55)",
    field: "cut(events, o + 1, o + 39)",
};

/// Fields of hashes, which Redis keeps as flat lists while there are at most 128 in every version
/// (`hash-max-listpack-entries`) and none is over 64 bytes.
const EXACT: Way = Way {
    look: "HEXISTS",
    add: "'HSETNX', key, member, ''",
    fill: 85,
    plain: 20,
    claimed: 36,
    member: "ARGV[exact + at]",
    token: "cut(events, o + 21, o + 36)",
    field: "cut(events, o + 1, o + 20) .. ARGV[exact + at]",
};

const SHARD: &str = include_str!("lua/shard.lua");
const OPEN: &str = include_str!("lua/open.lua");
const LOOK: &str = include_str!("lua/look.lua");
const MARK: &str = include_str!("lua/mark.lua");
const CLAIMS: &str = include_str!("lua/claims.lua");
const CLAIM: &str = include_str!("lua/claim.lua");
const CONFIRM: &str = include_str!("lua/confirm.lua");
const RELEASE: &str = include_str!("lua/release.lua");
const CLEAR: &str = include_str!("lua/clear.lua");
const ADOPT: &str = include_str!("lua/adopt.lua");
