//! What the benchmarks share: flags, interleaved rounds, ratios, tables.
#![allow(dead_code, unused_imports)] // each benchmark takes what it needs

mod args;
mod machine;
mod processors;
mod rounds;
mod table;

pub(crate) use args::Args;
pub(crate) use machine::{filesystem, locked, print_machine};
pub(crate) use processors::{DISTURBED, Processors, REST, Usage};
pub(crate) use rounds::{Rounds, Spread, order_of};
pub(crate) use table::{Goal, Table, judged};
