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

impl Scripts {
    /// Compact ids are integers in sets, which Redis keeps as sorted arrays while there are at most 512
    /// (`set-max-intset-entries`). Exact ids are fields of hashes, which it keeps as flat lists while
    /// there are at most 128 in every version (`hash-max-listpack-entries`) and none is over 64 bytes.
    pub(super) fn new(exact: bool) -> Self {
        let (look, add, fill) = if exact {
            ("HEXISTS", "'HSETNX', key, member, ''", EXACT_FILL)
        } else {
            ("SISMEMBER", "'SADD', key, member", COMPACT_FILL)
        };
        let script = |parts: &[&str]| {
            let text = parts.concat();
            let text = text.replace("@LOOK", look).replace("@ADD", add);
            let text = text.replace("@FILL", &fill.to_string());
            Script::new(text.replace("@BITS", &HASH_BITS.to_string()))
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

// The mean of a table that is full; with a Poisson spread five sigma below the limit, so that hardly a
// bucket of thousands goes over, which costs memory and nothing else.
const COMPACT_FILL: u32 = 410;
const EXACT_FILL: u32 = 85;

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
