use std::fmt;

use redis::{Cmd, Value, cmd};
use serde::{Deserialize, Serialize};

use crate::{
    events::{Signature, signature::new_secret},
    key::Secret,
    redis::{Failure, Link},
};

/// How the marks of a namespace are laid out: decided by the first process that uses it, and kept in
/// Redis beside them.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) secret: Secret,
    /// Names the secret in scripts, without telling it.
    pub(super) mark: String,
    pub(super) shards: u16,
    pub(super) exact: bool,
}

/// What is stored, as JSON.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    secret: String,
    shards: u16,
    ids: Ids,
}

#[derive(Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Ids {
    Compact,
    Exact,
}

impl Layout {
    /// Reads the layout of a namespace, after proposing one if there is none.
    pub(super) async fn agree(
        link: &Link,
        key: &str,
        shards: u16,
        exact: bool,
    ) -> Result<Self, Problem> {
        let proposal = stored(&new_secret(), shards, exact);
        match link.ask(&propose(key, &proposal)).await? {
            Value::Okay => return Self::parse(&proposal),
            Value::Nil => {}
            _ => return Err(Failure::unexpected("an answer to SET").into()),
        }
        let mut read = cmd("GET");
        read.arg(key);
        match link.ask(&read).await? {
            Value::BulkString(text) => Self::parse(&String::from_utf8_lossy(&text)),
            // Removed in between: as if the server were starting.
            _ => Err(Failure::unexpected("a namespace that is there and is not").into()),
        }
    }

    /// Stores it where nothing is stored.
    pub(super) async fn keep(&self, link: &Link, key: &str) -> Result<(), Failure> {
        let text = stored(&self.secret, self.shards, self.exact);
        link.ask(&propose(key, &text)).await.map(drop)
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        let unreadable = |reason: String| {
            Problem::Unfit(format!("what is stored of the namespace cannot be read: {reason}"))
        };
        let stored: Stored =
            serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))?;
        if stored.version != VERSION {
            return Err(Problem::Unfit(format!(
                "the namespace was begun by another release (layout {}, this one has {VERSION})",
                stored.version
            )));
        }
        let secret = u128::from_str_radix(&stored.secret, 16)
            .map_err(|error| unreadable(error.to_string()))?;
        if stored.shards == 0 {
            return Err(unreadable("no shards".to_owned()));
        }
        let secret = Secret::from_bytes(secret.to_be_bytes());
        let Signature { high, .. } = Signature::of(b"which secret", &secret);
        Ok(Self {
            secret,
            mark: format!("{high:016x}"),
            shards: stored.shards,
            exact: stored.ids == Ids::Exact,
        })
    }

    /// Which shard an event is in. From other bits than its bucket and what is stored of it.
    pub(super) fn shard_of(&self, signature: Signature) -> usize {
        let bits = signature.high & 0xffff_ffff;
        usize::try_from((bits * u64::from(self.shards)) >> 32).expect("a shard's number is small")
    }
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layout")
            .field("shards", &self.shards)
            .field("exact", &self.exact)
            .finish_non_exhaustive()
    }
}

/// Why there is no layout.
#[derive(Debug)]
pub(super) enum Problem {
    Failed(Failure),
    /// It is there and does not fit.
    Unfit(String),
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

fn stored(secret: &Secret, shards: u16, exact: bool) -> String {
    let ids = if exact { Ids::Exact } else { Ids::Compact };
    let stored = Stored { version: VERSION, secret: hex(secret.as_bytes()), shards, ids };
    serde_json::to_string(&stored).expect("a layout is plain JSON")
}

fn propose(key: &str, text: &str) -> Cmd {
    let mut propose = cmd("SET");
    propose.arg(key).arg(text).arg("NX");
    propose
}

fn hex(bytes: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*bytes))
}

const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_comes_back() {
        let text =
            r#"{"version":1,"secret":"000102030405060708090a0b0c0d0e0f","shards":4,"ids":"exact"}"#;
        let layout = Layout::parse(text).unwrap();
        assert_eq!(layout.secret.as_bytes()[15], 15);
        assert_eq!((layout.shards, layout.exact), (4, true));
        for (from, to) in [("1,", "2,"), ("000102", "xyz"), ("\"shards\":4", "\"shards\":0")] {
            assert!(Layout::parse(&text.replacen(from, to, 1)).is_err(), "{to}");
        }
    }

    #[test]
    fn shards_share_events_evenly() {
        let text = r#"{"version":1,"secret":"00","shards":3,"ids":"compact"}"#;
        let layout = Layout::parse(text).unwrap();
        let mut counts = [0; 3];
        for number in 0..30_000_u32 {
            counts[layout.shard_of(Signature::of(&number.to_be_bytes(), &layout.secret))] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }
}
