use std::time::Duration;

use redis::Value;

use super::{
    backend::{Agreed, RedisBackend, Shard, millis},
    shard::HASH_BITS,
};
use crate::{
    events::{ClaimToken, EventWindow, backend::ClaimAnswer},
    hook::BoxFuture,
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

/// One request to one shard.
pub(super) trait AsyncRequest<R>: Sync {
    /// Whether the answer is right, too, when it is asked again after it took effect.
    const REPEATABLE: bool = true;

    fn ask<'r>(
        &'r self,
        backend: &'r RedisBackend,
        agreed: &'r Agreed,
        shard: &'r Shard,
        events: &'r [Event<'r>],
    ) -> BoxFuture<'r, Result<Vec<R>, Stop>>;
}

pub(super) struct Look;

impl AsyncRequest<bool> for Look {
    fn ask<'r>(
        &'r self,
        backend: &'r RedisBackend,
        agreed: &'r Agreed,
        shard: &'r Shard,
        events: &'r [Event<'r>],
    ) -> BoxFuture<'r, Result<Vec<bool>, Stop>> {
        Box::pin(async move {
            let mut call = Call::new(shard.record.clone(), 2 + events.len());
            call.bytes(agreed.layout.mark.as_bytes()).bytes(&text_of(events, None));
            push_exact(events, &mut call);
            let flags = backend.flags(&agreed.scripts.look, &call, shard, events).await?;
            Ok(flags.into_iter().map(|flag| flag == b'1').collect())
        })
    }
}

pub(super) struct Mark<'a>(pub(super) &'a EventWindow);

impl AsyncRequest<bool> for Mark<'_> {
    const REPEATABLE: bool = false;

    fn ask<'r>(
        &'r self,
        backend: &'r RedisBackend,
        agreed: &'r Agreed,
        shard: &'r Shard,
        events: &'r [Event<'r>],
    ) -> BoxFuture<'r, Result<Vec<bool>, Stop>> {
        Box::pin(async move {
            let mut call = backend.adding(agreed, shard, self.0, events);
            call.bytes(&text_of(events, None)).text(u8::from(self.0.is_sliding()));
            push_exact(events, &mut call);
            let script = &agreed.scripts.mark;
            let flags = backend.add(script, &call, agreed, shard, self.0, events).await?;
            Ok(flags.into_iter().map(|flag| flag == b'1').collect())
        })
    }
}

pub(super) struct Claim<'a> {
    pub(super) tokens: &'a [ClaimToken],
    pub(super) lease: Duration,
}

impl AsyncRequest<ClaimAnswer> for Claim<'_> {
    fn ask<'r>(
        &'r self,
        backend: &'r RedisBackend,
        agreed: &'r Agreed,
        shard: &'r Shard,
        events: &'r [Event<'r>],
    ) -> BoxFuture<'r, Result<Vec<ClaimAnswer>, Stop>> {
        Box::pin(async move {
            let mut call = Call::new(shard.record.clone(), 4 + events.len());
            call.bytes(agreed.layout.mark.as_bytes())
                .bytes(&text_of(events, Some(self.tokens)))
                .text(millis(self.lease).max(1))
                .text(u8::from(shard.sweeps()));
            push_exact(events, &mut call);
            let flags = backend.flags(&agreed.scripts.claim, &call, shard, events).await?;
            let answers = flags.into_iter().map(|flag| match flag {
                b'c' => Ok(ClaimAnswer::Claimed),
                b's' => Ok(ClaimAnswer::Seen),
                b'f' => Ok(ClaimAnswer::InFlight),
                _ => Err(unexpected()),
            });
            answers.collect()
        })
    }
}

pub(super) struct Confirm<'a> {
    pub(super) tokens: &'a [ClaimToken],
    pub(super) window: &'a EventWindow,
}

impl AsyncRequest<bool> for Confirm<'_> {
    fn ask<'r>(
        &'r self,
        backend: &'r RedisBackend,
        agreed: &'r Agreed,
        shard: &'r Shard,
        events: &'r [Event<'r>],
    ) -> BoxFuture<'r, Result<Vec<bool>, Stop>> {
        Box::pin(async move {
            let mut call = backend.adding(agreed, shard, self.window, events);
            call.bytes(&text_of(events, Some(self.tokens)));
            push_exact(events, &mut call);
            let script = &agreed.scripts.confirm;
            let flags = backend.add(script, &call, agreed, shard, self.window, events).await?;
            Ok(flags.into_iter().map(|flag| flag == b'1').collect())
        })
    }
}

pub(super) struct Release<'a>(pub(super) &'a [ClaimToken]);

impl AsyncRequest<bool> for Release<'_> {
    fn ask<'r>(
        &'r self,
        backend: &'r RedisBackend,
        agreed: &'r Agreed,
        shard: &'r Shard,
        events: &'r [Event<'r>],
    ) -> BoxFuture<'r, Result<Vec<bool>, Stop>> {
        Box::pin(async move {
            let mut call = Call::new(shard.record.clone(), 2 + events.len());
            call.bytes(agreed.layout.mark.as_bytes()).bytes(&text_of(events, Some(self.0)));
            push_exact(events, &mut call);
            let flags = backend.flags(&agreed.scripts.release, &call, shard, events).await?;
            Ok(flags.into_iter().map(|flag| flag == b'1').collect())
        })
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
