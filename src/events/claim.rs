use std::fmt;

use super::ClaimToken;

/// What asking for an event came to.
#[derive(Debug, Clone)]
#[allow(clippy::exhaustive_enums, reason = "there is no fourth way")]
pub enum Claimed {
    /// The event is the caller's: handle it, then confirm or release the claim.
    New(Claim),
    /// It was handled within the window.
    Duplicate,
    /// Somebody else has claimed it. Not a duplicate: their handler may yet fail.
    InFlight,
}

impl Claimed {
    /// The claim, if there is one.
    pub fn claim(self) -> Option<Claim> {
        match self {
            Self::New(claim) => Some(claim),
            _ => None,
        }
    }
}

/// The right to handle one event, for as long as the lease.
///
/// Dropping it does nothing: the event is free again when the lease has run out.
/// [`confirm`](super::EventDeduplicator::confirm) and
/// [`release`](super::EventDeduplicator::release) end it, and may be repeated.
#[derive(Clone)]
#[must_use = "an event that is neither confirmed nor released waits for its lease"]
pub struct Claim {
    pub(super) id: Box<[u8]>,
    pub(super) token: ClaimToken,
}

impl Claim {
    /// The token, which names the claim in logs.
    pub const fn token(&self) -> ClaimToken {
        self.token
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("token", &self.token).finish_non_exhaustive()
    }
}
