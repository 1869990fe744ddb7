/// What became of a message that could be decided; complete by nature: the handler's work stands, or
/// an earlier one's does.
///
/// Both mean: acknowledge it. What could not be decided is an error, among them
/// [`InFlight`](crate::inbox::InFlight).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use = "acknowledge the message for either outcome, and not for an error"]
pub enum Outcome<R> {
    /// The inner service handled it, and what it did is committed.
    Handled(R),
    /// An earlier delivery was handled within the window; the inner service did not see this one.
    Duplicate,
}

impl<R> Outcome<R> {
    /// Whether the inner service did not see the message.
    pub const fn is_duplicate(&self) -> bool {
        matches!(self, Self::Duplicate)
    }

    /// The response, of a message that was handled.
    pub fn handled(self) -> Option<R> {
        match self {
            Self::Handled(response) => Some(response),
            Self::Duplicate => None,
        }
    }

    /// Changes the response.
    pub fn map<T>(self, f: impl FnOnce(R) -> T) -> Outcome<T> {
        match self {
            Self::Handled(response) => Outcome::Handled(f(response)),
            Self::Duplicate => Outcome::Duplicate,
        }
    }
}
