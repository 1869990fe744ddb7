use std::{
    error::Error,
    fmt,
    sync::{Mutex, PoisonError},
};

use http::{Response, StatusCode};

use super::IdempotencyBody;
use crate::error::BoxError;

/// The handler's response is of the kind that is rolled back and not kept; see
/// [`roll_back`](super::IdempotencyLayer::roll_back).
///
/// Clients never see it: they get the response. It is the source of the error that hooks and
/// [`DeadLetterPolicy::except`](crate::inbox::DeadLetterPolicy::except) meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RolledBack {
    /// The status of the response.
    pub status: StatusCode,
}

impl fmt::Display for RolledBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the handler answered {}", self.status)
    }
}

impl Error for RolledBack {}

/// Why a delivery was undone by what is no failure of ours: it comes out of the inbox as it went in.
#[allow(clippy::large_enum_variant)] // boxed with the error that carries it
pub(super) enum Undone<R, E> {
    /// The response is of the kind that is not kept.
    Answered(Response<IdempotencyBody<R>>),
    /// The inner service failed.
    Failed(E),
}

/// Takes any value through a [`BoxError`].
pub(super) struct Carried<T> {
    // Response bodies are rarely `Sync`, which a boxed error is.
    value: Mutex<T>,
    source: Option<RolledBack>,
}

impl<R, E> Carried<Undone<R, E>>
where
    R: Send + 'static,
    E: Send + 'static,
{
    pub(super) fn new(value: Undone<R, E>) -> Self {
        let source = match &value {
            Undone::Answered(response) => Some(RolledBack { status: response.status() }),
            Undone::Failed(_) => None,
        };
        Self { value: Mutex::new(value), source }
    }

    pub(super) fn unpack(error: BoxError) -> Result<Undone<R, E>, BoxError> {
        let carried = error.downcast::<Self>()?;
        Ok(carried.value.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> fmt::Debug for Carried<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried").field("source", &self.source).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for Carried<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the inner service did not succeed")
    }
}

impl<T> Error for Carried<T> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source as &(dyn Error + 'static))
    }
}

/// The body of the response ended with an error.
#[derive(Debug)]
pub(super) struct BrokenResponse {
    pub(super) source: BoxError,
}

impl fmt::Display for BrokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body of the response could not be read")
    }
}

impl Error for BrokenResponse {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

/// What was kept is no response, or one of a later release.
#[derive(Debug)]
pub(super) struct UnreadableResponse;

impl fmt::Display for UnreadableResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the response that was kept cannot be read")
    }
}

impl Error for UnreadableResponse {}

/// The response is larger than what is kept.
#[derive(Debug)]
pub(super) struct ResponseBeyondLimit {
    pub(super) status: StatusCode,
    pub(super) limit: usize,
}

impl fmt::Display for ResponseBeyondLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, limit } = self;
        write!(
            f,
            "the response ({status}) is larger than the {limit} bytes that are kept; raise \
             `max_response_body`, or leave the route out of the layer"
        )
    }
}

impl Error for ResponseBeyondLimit {}
