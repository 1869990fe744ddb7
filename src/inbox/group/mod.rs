//! Single messages that arrive at the same time, in one commit, and each with its own outcome.

mod call;
mod driver;
mod future;
mod item;
mod layer;
mod service;
mod work;

pub use driver::GroupDriver;
pub use future::{DriverGone, GroupFuture};
pub use service::GroupInbox;
