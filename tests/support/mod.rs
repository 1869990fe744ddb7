//! What the tests of this package share.
#![allow(dead_code, missing_docs, unreachable_pub)] // each test takes what it needs

pub mod counting;
pub mod harness;
pub mod random;
