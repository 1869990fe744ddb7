use std::time::Duration;

use redis::Value;

use super::{
    backend::{Agreed, RedisBackend, Shard, millis},
    shard::HASH_BITS,
};
use crate::{
    events::{ClaimToken, EventWindow},
    redis::{Call, Failure, FailureKind, Script},
};

/// One event on its way to a shard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event<'a> {
    /// Its place in the caller's batch.
    pub(super) at: usize,
    pub(super) hash: u32,
    pub(super) member: Member<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Member<'a> {
    /// A number of 19 digits.
    Compact(u64),
    Exact(&'a [u8]),
}

/// Why a request stopped.
pub(super) enum Stop {
    /// The shard with this record is under another secret.
    Foreign(String),
    Failed(Failure),
}

fn unexpected() -> Stop {
    Stop::Failed(Failure::unexpected("an answer to a script"))
}

fn checked(flags: Vec<u8>, events: &[Event<'_>]) -> Result<Vec<u8>, Stop> {
    if flags.len() == events.len() { Ok(flags) } else { Err(unexpected()) }
}

/// What is asked of one shard.
#[derive(Clone, Copy)]
pub(super) enum Request<'a> {
    Look,
    Mark(&'a EventWindow),
    Claim { tokens: &'a [ClaimToken], lease: Duration },
    Confirm { tokens: &'a [ClaimToken], window: &'a EventWindow },
    Release(&'a [ClaimToken]),
}

impl<'a> Request<'a> {
    /// Whether the answer is right, too, when it is asked again after it took effect.
    pub(super) const fn is_repeatable(self) -> bool {
        !matches!(self, Self::Mark(_))
    }

    const fn tokens(self) -> Option<&'a [ClaimToken]> {
        match self {
            Self::Look | Self::Mark(_) => None,
            Self::Claim { tokens, .. } | Self::Confirm { tokens, .. } | Self::Release(tokens) => {
                Some(tokens)
            }
        }
    }
}

/// The text of the events, as the scripts cut it: the bits of the hash, the number of a compact id, and
/// the token.
fn text_of(events: &[Event<'_>], tokens: Option<&[ClaimToken]>) -> Vec<u8> {
    let mut text = Vec::with_capacity(events.len() * LONGEST_EVENT);
    for event in events {
        let bit = |at| b'0' + u8::from(event.hash >> at & 1 == 1);
        text.extend((0..HASH_BITS).rev().map(bit));
        if let Member::Compact(mut number) = event.member {
            let start = text.len();
            text.resize(start + DIGITS, b'0');
            for digit in text[start..].iter_mut().rev() {
                *digit += u8::try_from(number % 10).expect("a digit");
                number /= 10;
            }
        }
        if let Some(tokens) = tokens {
            text.extend_from_slice(tokens[event.at].as_bytes());
        }
    }
    text
}

fn push_exact(events: &[Event<'_>], call: &mut Call) {
    for event in events {
        if let Member::Exact(id) = event.member {
            call.bytes(id);
        }
    }
}

/// A number of 19 digits that a set keeps in eight bytes, out of 64 bits: some of them share one, so it
/// has 62.8 bits.
pub(super) const fn digits(bits: u64) -> u64 {
    const LEAST: u64 = 1_000_000_000_000_000_000;
    LEAST + bits % (i64::MAX.cast_unsigned() - LEAST + 1)
}

impl RedisBackend {
    /// Asks one shard; its flag for each event.
    pub(super) async fn ask(
        &self,
        request: Request<'_>,
        agreed: &Agreed,
        shard: &Shard,
        events: &[Event<'_>],
    ) -> Result<Vec<u8>, Stop> {
        let mut call = match request {
            Request::Mark(window) | Request::Confirm { window, .. } => {
                self.adding(agreed, shard, window, events)
            }
            Request::Look | Request::Claim { .. } | Request::Release(_) => {
                let mut call = Call::new(shard.record.clone(), 4 + events.len());
                call.bytes(agreed.layout.mark.as_bytes());
                call
            }
        };
        call.bytes(&text_of(events, request.tokens()));
        match request {
            Request::Mark(window) => {
                call.text(u8::from(window.is_sliding()));
            }
            Request::Claim { lease, .. } => {
                call.text(millis(lease).max(1)).text(u8::from(shard.sweeps()));
            }
            Request::Look | Request::Confirm { .. } | Request::Release(_) => {}
        }
        push_exact(events, &mut call);
        let scripts = &agreed.scripts;
        match request {
            Request::Look => self.flags(&scripts.look, &call, shard, events).await,
            Request::Mark(window) => {
                self.add(&scripts.mark, &call, agreed, shard, window, events).await
            }
            Request::Claim { .. } => self.flags(&scripts.claim, &call, shard, events).await,
            Request::Confirm { window, .. } => {
                self.add(&scripts.confirm, &call, agreed, shard, window, events).await
            }
            Request::Release(_) => self.flags(&scripts.release, &call, shard, events).await,
        }
    }

    /// Begins a call that may add to a table.
    fn adding(
        &self,
        agreed: &Agreed,
        shard: &Shard,
        window: &EventWindow,
        events: &[Event<'_>],
    ) -> Call {
        let (length, slot) = (window_millis(window), millis(window.slot()));
        // How many events a slot holds in this shard, if the caller knows.
        let parts = u64::from(agreed.layout.shards) * length.checked_div(slot).unwrap_or(1).max(1);
        let hashes: Vec<_> = events.iter().map(|event| event.hash).collect();
        // A bucket that was evicted is begun again at any time, and needs an expiry then.
        let (table, mask) = if self.settings.allow_eviction {
            ("-".to_owned(), Vec::new())
        } else {
            shard.known.about(length, &hashes)
        };
        let mut call = Call::new(shard.record.clone(), 9 + events.len());
        call.bytes(agreed.layout.mark.as_bytes())
            .text(length)
            .text(slot.max(1))
            .text(self.settings.expected / parts)
            .text(self.settings.windows)
            .text(table)
            .bytes(&mask);
        call
    }

    /// Runs a script that may add to a table; its flags, once what they say about the table is learnt.
    async fn add(
        &self,
        script: &Script,
        call: &Call,
        agreed: &Agreed,
        shard: &Shard,
        window: &EventWindow,
        events: &[Event<'_>],
    ) -> Result<Vec<u8>, Stop> {
        let answer = self.run(script, call, shard).await?;
        let Value::Array(answer) = answer else { return Err(unexpected()) };
        let [
            Value::BulkString(flags),
            Value::BulkString(table),
            Value::Int(bits),
            Value::Int(is_first),
        ] = &answer[..]
        else {
            return Err(unexpected());
        };
        let bits = u32::try_from(*bits).map_err(|_| unexpected())?;
        let flags = checked(flags.clone(), events)?;
        let added = events.iter().zip(&flags).filter(|(_, flag)| **flag == b'1');
        let added = added.map(|(event, _)| event.hash);
        let table = String::from_utf8_lossy(table);
        shard.known.learn(window_millis(window), &table, bits, added);
        if *is_first == 1 {
            self.keep_layout(agreed).await;
        }
        Ok(flags)
    }

    async fn run(&self, script: &Script, call: &Call, shard: &Shard) -> Result<Value, Stop> {
        script.run(&self.link, call).await.map_err(|failure| {
            shard.known.forget();
            match failure.kind {
                FailureKind::ForeignSecret => Stop::Foreign(shard.record.clone()),
                _ => Stop::Failed(failure),
            }
        })
    }

    async fn flags(
        &self,
        script: &Script,
        call: &Call,
        shard: &Shard,
        events: &[Event<'_>],
    ) -> Result<Vec<u8>, Stop> {
        match self.run(script, call, shard).await? {
            Value::BulkString(flags) => checked(flags, events),
            _ => Err(unexpected()),
        }
    }
}

fn window_millis(window: &EventWindow) -> u64 {
    window.length().map_or(0, millis)
}

const DIGITS: usize = 19;
const LONGEST_EVENT: usize = 55;
