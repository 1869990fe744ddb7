use super::{Outcome, store::Record};
use crate::error::BoxError;

/// How a delivery that ended is told to the caller: as an [`Outcome`] or, where responses are kept,
/// as a [`Replay`](super::replay::Replay).
///
/// Sealed: the ways are complete by nature.
pub trait Ending<R>: Sealed {
    /// What the caller gets.
    type Output;

    #[doc(hidden)]
    fn keep(&self, response: &R) -> Kept;

    #[doc(hidden)]
    fn handled(&self, response: R) -> Self::Output;

    #[doc(hidden)]
    fn duplicate(&self, record: Option<Record>) -> Result<Self::Output, BoxError>;
}

/// The response as it shall be kept: not at all, so many bytes, or it cannot be.
pub(super) type Kept = Result<Option<Vec<u8>>, BoxError>;

/// Keeps no response.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain(());

impl<R> Ending<R> for Plain {
    type Output = Outcome<R>;

    fn keep(&self, _: &R) -> Kept {
        Ok(None)
    }

    fn handled(&self, response: R) -> Outcome<R> {
        Outcome::Handled(response)
    }

    fn duplicate(&self, _: Option<Record>) -> Result<Outcome<R>, BoxError> {
        Ok(Outcome::Duplicate)
    }
}

#[doc(hidden)]
#[allow(unnameable_types)]
pub trait Sealed {}

impl Sealed for Plain {}
