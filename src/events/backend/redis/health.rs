use std::time::Instant;

use redis::{Value, cmd};

use super::backend::{RedisBackend, failed, unix_millis};
use crate::{
    events::{
        EventsErrorKind,
        backend::{BackendError, Health},
    },
    redis::{Failure, FailureKind},
};

impl RedisBackend {
    pub(super) async fn refuse_eviction(&self) -> Result<(), BackendError> {
        let policies = self.eviction().await.map_err(failed)?;
        match policies.into_iter().find(|policy| policy != NO_EVICTION) {
            Some(policy) if !self.settings.allow_eviction => {
                Err(BackendError::new(EventsErrorKind::Refused, eviction_problem(&policy)))
            }
            Some(policy) => {
                tracing::warn!(policy, "the server evicts keys, so events may be forgotten early");
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// What each master does when its memory is full; `noeviction` where it has no limit.
    async fn eviction(&self) -> Result<Vec<String>, Failure> {
        let mut info = cmd("INFO");
        info.arg("memory");
        let answers = match self.link.ask_masters(&info).await {
            Ok(answers) => answers,
            Err(failure) if failure.kind == FailureKind::Refused => {
                tracing::warn!("not allowed to ask for the eviction policy (+info)");
                return Ok(Vec::new());
            }
            Err(failure) => return Err(failure),
        };
        Ok(answers
            .iter()
            .map(info_fields)
            .map(|info| {
                let get = |name: &str| info.iter().find(|(field, _)| field == name);
                let limited = get("maxmemory").is_none_or(|(_, limit)| limit != "0");
                match get("maxmemory_policy") {
                    Some((_, policy)) if limited => policy.clone(),
                    _ => NO_EVICTION.to_owned(),
                }
            })
            .collect())
    }

    pub(super) async fn look_at(&self) -> Result<Health, Failure> {
        let start = Instant::now();
        self.link.ask(&cmd("PING")).await?;
        let mut health = Health::new(start.elapsed());
        for policy in self.eviction().await? {
            if policy != NO_EVICTION {
                health.problems.push(eviction_problem(&policy));
            }
            health.facts.insert("eviction".to_owned(), policy);
        }
        let before = unix_millis();
        let clock = self.link.ask(&cmd("TIME")).await?;
        if let Some(theirs) = server_millis(&clock) {
            let ours = before.midpoint(unix_millis());
            let ahead = theirs - ours;
            health.facts.insert("clock_ahead_ms".to_owned(), ahead.to_string());
            if ahead.abs() > CLOCK_TOLERANCE_MS {
                health.problems.push(format!(
                    "the server's clock is {ahead} ms ahead of ours; windows go by the server's, so \
                     only a jump of it matters: synchronise both"
                ));
            }
        }
        let mut eval = cmd("EVAL");
        eval.arg(PROBE).arg(1).arg(format!("{}}}:h", self.base));
        match self.link.ask(&eval).await {
            Ok(Value::Int(7)) => {}
            Ok(_) => health.problems.push("scripts answer something else than they say".to_owned()),
            Err(failure) => match failure.kind {
                FailureKind::Refused => {
                    let text = "scripts are not allowed to write: grant +@scripting +@write";
                    health.problems.push(text.to_owned());
                }
                FailureKind::Busy | FailureKind::Full => {
                    let text =
                        "the server takes no writes: it is a replica, fails over, or is full";
                    health.problems.push(text.to_owned());
                }
                _ => return Err(failure),
            },
        }
        self.facts(&mut health).await?;
        Ok(health)
    }

    /// What there is to know of the server and the namespace.
    async fn facts(&self, health: &mut Health) -> Result<(), Failure> {
        let mut info = cmd("INFO");
        info.arg("server");
        if let Ok(answers) = self.link.ask_masters(&info).await {
            health.facts.insert("masters".to_owned(), answers.len().to_string());
            if let Some(version) = answers.iter().find_map(|answer| {
                info_fields(answer).into_iter().find(|(name, _)| name == "redis_version")
            }) {
                health.facts.insert("redis".to_owned(), version.1);
            }
        }
        let Some(agreed) = self.known() else { return Ok(()) };
        let (mut events, mut claims, mut tables) = (0_u64, 0_i64, 0_usize);
        for shard in &agreed.shards {
            let mut read = cmd("HGETALL");
            read.arg(&shard.record);
            for (name, value) in pairs(&self.link.ask(&read).await?) {
                match name.as_bytes().first() {
                    Some(b'c') => events += value.parse::<u64>().unwrap_or(0),
                    Some(b't') => tables += value.matches(';').count(),
                    _ => {}
                }
            }
            let mut count = cmd("HLEN");
            count.arg(format!("{}c", shard.record.trim_end_matches('m')));
            if let Value::Int(held) = self.link.ask(&count).await? {
                claims += held;
            }
        }
        for (name, value) in [
            ("events", events.to_string()),
            ("claims", claims.to_string()),
            ("tables", tables.to_string()),
            ("shards", agreed.shards.len().to_string()),
            ("ids", if agreed.layout.exact { "exact" } else { "compact" }.to_owned()),
        ] {
            health.facts.insert(name.to_owned(), value);
        }
        Ok(())
    }
}

fn eviction_problem(policy: &str) -> String {
    format!(
        "the server evicts keys when its memory is full (maxmemory-policy {policy}), which forgets \
         hundreds of events at once: set it to noeviction, or set allow_eviction if that is all right"
    )
}

/// The fields of an answer to INFO.
fn info_fields(answer: &Value) -> Vec<(String, String)> {
    let text = match answer {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::VerbatimString { text, .. } => text.clone(),
        Value::SimpleString(text) => text.clone(),
        _ => String::new(),
    };
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

/// The fields of an answer to HGETALL.
fn pairs(answer: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    };
    match answer {
        Value::Array(values) => {
            values.chunks_exact(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
        }
        Value::Map(pairs) => pairs.iter().map(|(name, value)| (text(name), text(value))).collect(),
        _ => Vec::new(),
    }
}

fn server_millis(clock: &Value) -> Option<i64> {
    let Value::Array(parts) = clock else { return None };
    let number = |at: usize| match parts.get(at)? {
        Value::BulkString(bytes) => str::from_utf8(bytes).ok()?.parse::<i64>().ok(),
        _ => None,
    };
    Some(number(0)? * 1000 + number(1)? / 1000)
}

// Ends by itself at once.
const PROBE: &str = "redis.call('SET', KEYS[1], '', 'PX', 1) return 7";
const NO_EVICTION: &str = "noeviction";
const CLOCK_TOLERANCE_MS: i64 = 2_000;
