//! One way to Redis: a single server, a cluster, or whichever server the sentinels call the master.

mod failure;
mod link;
mod options;
mod script;
mod target;

pub(crate) use failure::{Failure, FailureKind};
pub(crate) use link::Link;
pub(crate) use options::{Certificates, Options};
pub(crate) use script::{Call, Script};
