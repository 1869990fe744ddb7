use std::{error::Error, fmt};

use tower_inbox::{
    BoxError, Outcome,
    error::StoreError,
    inbox::{DeadLettered, InFlight, LeaseLost, redelivery::UnreadableLetter},
};

use super::stdout::OutputFailed;
use crate::error::Failure;

/// What one message came to.
#[derive(Debug)]
pub(super) enum Verdict {
    Handled,
    Duplicate,
    InFlight,
    /// It failed, and the next one may not.
    Failed(String),
    /// It failed too often, now or before, and is kept by the database.
    DeadLettered(String),
    /// The next one would fail as well; this one is not counted.
    Stop(Failure),
}

impl Verdict {
    pub(super) fn new(result: Result<Outcome<()>, BoxError>) -> Self {
        let error = match result {
            Ok(Outcome::Duplicate) => return Self::Duplicate,
            Ok(_) => return Self::Handled,
            Err(error) => error,
        };
        if error.is::<InFlight>() {
            return Self::InFlight;
        }
        if error.is::<Refused>() || error.is::<LeaseLost>() {
            return Self::Failed(error.to_string());
        }
        if error.is::<DeadLettered>() {
            return Self::DeadLettered(with_cause(&*error));
        }
        if error.is::<UnreadableLetter>() {
            return Self::Failed(with_cause(&*error));
        }
        let error = match error.downcast::<OutputFailed>() {
            Ok(failed) => return Self::Stop(Failure::output(failed.0)),
            Err(error) => error,
        };
        Self::Stop(match error.downcast::<StoreError>() {
            Ok(error) => Failure::from(*error),
            Err(error) => Failure::stopped("could not handle the message").because(error),
        })
    }
}

fn with_cause(error: &(dyn Error + 'static)) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// This message was refused, and that says nothing about the next one.
#[derive(Debug)]
pub(super) struct Refused(pub(super) String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Refused {}
