use std::time::Duration;

use crate::error::Failure;

/// A time as written after a flag.
pub(crate) fn duration(flag: &str, text: &str) -> Result<Duration, Failure> {
    humantime::parse_duration(text).map_err(|error| {
        Failure::usage(format!("{flag} {text}")).because(error).advice("write 24h, 90s, 7d or so")
    })
}
