//! The same names, and nothing behind them.

use std::{sync::Arc, time::Duration};

use crate::hook::Decision;

pub(crate) const fn decided(_: &Arc<str>, _: Decision) {}

pub(crate) const fn duplicate_age(_: &Arc<str>, _: Duration) {}

pub(crate) const fn remembered(_: &Arc<str>) {}

pub(crate) const fn attempt_failed(_: &Arc<str>) {}

pub(crate) const fn buried(_: &Arc<str>) {}

pub(crate) const fn swept(_: u64) {}

pub(crate) const fn sweep_ended(_: Stopwatch) {}

pub(crate) const fn sweep_failed() {}

#[cfg(feature = "events")]
pub(crate) use events::*;

#[cfg(feature = "events")]
mod events {
    use std::time::Duration;

    type Name = &'static str;

    pub(crate) const fn events_checked(_: Name, _: usize, _: usize, _: usize) {}

    pub(crate) const fn events_asked(_: Name, _: Name, _: Duration) {}

    pub(crate) const fn events_retried(_: Name, _: Name) {}

    pub(crate) const fn events_failed(_: Name, _: Name, _: Name) {}

    pub(crate) const fn events_failed_open(_: Name, _: usize) {}

    pub(crate) const fn events_local(_: usize, _: usize) {}
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing;

impl Timing {
    pub(crate) const fn start(_: &Arc<str>) -> Self {
        Self
    }

    pub(crate) const fn claimed(&mut self) {}

    pub(crate) const fn handled(&mut self) {}

    pub(crate) const fn settled(&mut self) {}
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch;

impl Stopwatch {
    pub(crate) const fn start() -> Self {
        Self
    }
}
