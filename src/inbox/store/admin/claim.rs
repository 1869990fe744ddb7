use std::{fmt, str::FromStr, sync::Arc, time::SystemTime};

use crate::key::InboxKey;

/// Which claims are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClaimFilter {
    /// Of which consumer.
    pub consumer: Arc<str>,
    /// In which state; in any by default.
    pub state: Option<ClaimState>,
}

impl ClaimFilter {
    /// Asks for all of a consumer.
    pub fn of(consumer: impl Into<Arc<str>>) -> Self {
        Self { consumer: consumer.into(), state: None }
    }

    /// Asks for those in one state.
    #[must_use]
    pub fn state(self, state: ClaimState) -> Self {
        Self { state: Some(state), ..self }
    }
}

/// What a row of the inbox says of its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClaimState {
    /// Handled within the window.
    Handled,
    /// Being handled under a lease.
    Leased,
    /// Failed too often, and kept among the dead letters.
    Dead,
    /// Its window, or its lease, is over. The next delivery is handled.
    Expired,
    /// Failed, and there is no claim: the next delivery tries again.
    Failing,
}

impl ClaimState {
    /// The state in one word, as it is written and read.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Handled => "handled",
            Self::Leased => "leased",
            Self::Dead => "dead",
            Self::Expired => "expired",
            Self::Failing => "failing",
        }
    }

    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Handled, Self::Leased, Self::Dead, Self::Expired, Self::Failing];
}

impl fmt::Display for ClaimState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ClaimState {
    type Err = UnknownClaimState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(UnknownClaimState(()))
    }
}

/// Text that names no [`ClaimState`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownClaimState(());

impl fmt::Display for UnknownClaimState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the states are handled, leased, dead, expired and failing")
    }
}

impl std::error::Error for UnknownClaimState {}

/// A claim, on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClaimSummary {
    /// Of which message.
    pub key: InboxKey,
    /// What it says.
    pub state: ClaimState,
    /// When it ends or ended; `None` for a message without a claim.
    pub until: Option<SystemTime>,
    /// When the message was handled or died, counted back from the end of the claim by the window
    /// that the consumer has now.
    pub handled_at: Option<SystemTime>,
    /// How often it was leased or tried, as far as that was counted and has not led to anything.
    pub attempts: u32,
}

impl ClaimSummary {
    /// Describes a claim; for stores.
    pub const fn new(key: InboxKey, state: ClaimState) -> Self {
        Self { key, state, until: None, handled_at: None, attempts: 0 }
    }
}
