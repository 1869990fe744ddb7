//! Decides about a delivery before the handler sees it, and settles it afterwards.

mod attempt;
mod case;
mod identity;
mod lease;
mod start;
mod transaction;

use std::{sync::Arc, time::Duration};

pub(super) use self::{
    case::Case,
    identity::{Identity, Marks},
    start::Abandoned,
};
use super::{
    Window,
    config::Config,
    ending::Kept,
    store::{InboxStore, Record},
};
use crate::{error::BoxError, hook::BoxFuture};

/// How a layer holds the claim while the handler works: [`InTransaction`] or [`InLease`].
///
/// Sealed: the two ways are complete by nature.
pub trait Mode<M, St: InboxStore>: Admit<M, St> {}

/// The claim, the handler's writes and their commit are one transaction. The default.
#[derive(Debug, Clone, Copy)]
pub struct InTransaction {
    pub(super) wait: Duration,
}

/// The claim is a lease; for handlers whose effects are elsewhere.
#[derive(Debug, Clone)]
pub struct InLease {
    pub(super) lease: Window,
    pub(super) owner: Arc<str>,
}

impl<M: Send + 'static, St: InboxStore + 'static> Mode<M, St> for InTransaction {}
impl<M: Send + 'static, St: InboxStore + 'static> Mode<M, St> for InLease {}

/// Decides about a delivery before the handler sees it.
pub trait Admit<M, St: InboxStore> {
    /// What the inner service is called with.
    type Request;

    #[doc(hidden)]
    fn admit(
        &self,
        ask: Ask<M, St>,
    ) -> BoxFuture<'static, Result<Admission<Self::Request>, BoxError>>;
}

/// One delivery and all that is needed to decide about it.
#[doc(hidden)]
#[allow(missing_debug_implementations, unnameable_types)]
pub struct Ask<M, St: InboxStore> {
    pub(super) message: M,
    pub(super) marks: Marks,
    pub(super) config: Arc<Config<St::Connection>>,
    pub(super) store: Arc<St>,
}

/// The decision: hand `request` to the handler and `settle` what comes back, or don't.
#[doc(hidden)]
#[allow(missing_debug_implementations, unnameable_types)]
pub enum Admission<R> {
    Handle(R, Settle),
    /// With what was kept of the first handling, if the layer keeps anything.
    Duplicate(Option<Record>),
}

/// Ends a delivery. Dropping it instead undoes the claim, or leaves it to its lease.
///
/// What failed settles as an error: the handler's own, or what we made of it.
#[doc(hidden)]
#[allow(unreachable_pub)] // named by `Admission`
pub type Settle = Box<dyn FnOnce(Verdict) -> BoxFuture<'static, Result<(), BoxError>> + Send>;

/// What the handler came to.
#[doc(hidden)]
#[allow(missing_debug_implementations, unnameable_types)]
pub enum Verdict {
    /// It succeeded; this is its response, as it shall be kept.
    Handled(Kept),
    Failed(BoxError),
}
