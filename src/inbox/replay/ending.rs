use super::{Codec, Replay};
use crate::{
    error::BoxError,
    inbox::{
        ResponseTooLarge,
        ending::{Ending, Kept, Sealed},
        store::Record,
    },
};

/// Keeps responses; the ending of a [`ReplayInbox`](super::ReplayInbox).
#[derive(Debug, Clone)]
pub struct Replaying<Co> {
    pub(super) codec: Co,
    pub(super) max_response: usize,
    pub(super) oversized: Oversized,
}

/// What happens to a message whose response is too large to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Oversized {
    /// It is rolled back with [`ResponseTooLarge`]. The default: nobody relies on a replay that will
    /// not come. In leased mode, where the handler's effects stand, the message is completed without
    /// a response instead.
    #[default]
    Refuse,
    /// It is handled, and duplicates are [`Replay::Duplicate`].
    Forget,
}

impl<Co> Sealed for Replaying<Co> {}

impl<R, Co: Codec<R>> Ending<R> for Replaying<Co> {
    type Output = Replay<R>;

    fn keep(&self, response: &R) -> Kept {
        let bytes = self.codec.encode(response)?;
        if bytes.len() <= self.max_response {
            return Ok(Some(bytes));
        }
        match self.oversized {
            Oversized::Refuse => Err(ResponseTooLarge::new(bytes.len(), self.max_response).into()),
            Oversized::Forget => Ok(None),
        }
    }

    fn handled(&self, response: R) -> Replay<R> {
        Replay::Handled(response)
    }

    fn duplicate(&self, record: Option<Record>) -> Result<Replay<R>, BoxError> {
        match record.and_then(|record| record.response) {
            Some(bytes) => Ok(self.codec.decode(&bytes).map_or_else(
                |error| {
                    // Written by another version of the program. The message is handled all the same,
                    // and an error would have it delivered until its window is over, and then again.
                    let error = &*error as &dyn std::error::Error;
                    tracing::warn!(error, "could not read a response that was kept");
                    Replay::Duplicate
                },
                Replay::Replayed,
            )),
            None => Ok(Replay::Duplicate),
        }
    }
}
