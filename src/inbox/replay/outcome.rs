use crate::inbox::Outcome;

/// What became of a message whose responses are kept; complete by nature.
///
/// All three mean: acknowledge it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use = "acknowledge the message for any outcome, and not for an error"]
pub enum Replay<R> {
    /// The inner service handled it now.
    Handled(R),
    /// An earlier delivery was handled within the window, and this was its response.
    Replayed(R),
    /// An earlier delivery was handled within the window, and its response was not kept.
    Duplicate,
}

impl<R> Replay<R> {
    /// The response, if there is one.
    pub fn response(self) -> Option<R> {
        match self {
            Self::Handled(response) | Self::Replayed(response) => Some(response),
            Self::Duplicate => None,
        }
    }

    /// Whether the inner service did not see the message.
    pub const fn is_duplicate(&self) -> bool {
        matches!(self, Self::Replayed(_) | Self::Duplicate)
    }

    /// Changes the response.
    pub fn map<T>(self, f: impl FnOnce(R) -> T) -> Replay<T> {
        match self {
            Self::Handled(response) => Replay::Handled(f(response)),
            Self::Replayed(response) => Replay::Replayed(f(response)),
            Self::Duplicate => Replay::Duplicate,
        }
    }
}

impl<R> From<Replay<R>> for Outcome<R> {
    fn from(replay: Replay<R>) -> Self {
        match replay {
            Replay::Handled(response) => Self::Handled(response),
            Replay::Replayed(_) | Replay::Duplicate => Self::Duplicate,
        }
    }
}
