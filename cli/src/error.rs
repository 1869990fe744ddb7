use std::{
    borrow::Cow,
    error::Error,
    io::{self, Write},
};

use tower_inbox::{
    BoxError,
    error::{StoreError, StoreErrorKind},
};

use crate::exit::Exit;

/// Why a verb could not end well: what happened, why, and what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    /// Absent where there is nobody left to read it.
    what: Option<String>,
    cause: Option<BoxError>,
    advice: Option<Cow<'static, str>>,
}

impl Failure {
    /// The command line, the environment or the config file makes no sense.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, what: Some(what.into()), cause: None, advice: None }
    }

    /// Something broke.
    pub(crate) fn stopped(what: impl Into<String>) -> Self {
        Self { exit: Exit::Stopped, what: Some(what.into()), cause: None, advice: None }
    }

    /// Something broke between us and our standard output. Whoever closed it knows.
    pub(crate) fn output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { exit: Exit::Stopped, what: None, cause: None, advice: None };
        }
        Self::stopped("could not write to standard output").because(error)
    }

    pub(crate) fn because(mut self, cause: impl Into<BoxError>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    pub(crate) fn advice(mut self, advice: impl Into<Cow<'static, str>>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// Says what happened in other words, and keeps the rest.
    pub(crate) fn retitled(mut self, what: impl Into<String>) -> Self {
        self.what = Some(what.into());
        self
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Prints to standard error, and ignores that it may be closed.
    pub(crate) fn print(&self) {
        let Some(what) = &self.what else { return };
        let mut text = format!("error: {what}\n");
        let mut last = what.clone();
        let mut cause = self.cause.as_deref().map(|cause| cause as &(dyn Error + 'static));
        while let Some(error) = cause {
            let message = error.to_string();
            // Some errors repeat what is below them.
            if !last.contains(&message) {
                text += &format!("  because: {message}\n");
                last = message;
            }
            cause = error.source();
        }
        if let Some(advice) = &self.advice {
            text += &format!("  what to do: {advice}\n");
        }
        io::stderr().write_all(text.as_bytes()).ok();
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let mut failure = match error.kind() {
            StoreErrorKind::UnknownConsumer => Self::usage(error.to_string()),
            _ => Self::stopped(error.to_string()),
        };
        failure.advice = advice(error.kind()).map(Cow::Borrowed);
        // Its own text is not printed twice.
        failure.because(error)
    }
}

fn advice(kind: StoreErrorKind) -> Option<&'static str> {
    Some(match kind {
        StoreErrorKind::Unreachable => {
            "check that --database names the right place, that it is there and that you may use \
             it; then run the same command again"
        }
        StoreErrorKind::Busy => {
            "somebody else holds the database, maybe another run; run the same command again"
        }
        StoreErrorKind::NotMigrated | StoreErrorKind::SchemaTooOld => {
            "run `tower-inbox migrate` with the same --database once, or add --migrate"
        }
        StoreErrorKind::SchemaTooNew => {
            "use the release of tower-inbox that migrated this database, or a newer one"
        }
        StoreErrorKind::ReadOnly => {
            "consuming writes: use a file and folder that you may write, no `mode=ro`, and a role \
             with the rights to insert"
        }
        StoreErrorKind::Full => {
            "make room and run the same command again; what was handled stays handled"
        }
        StoreErrorKind::UnknownConsumer => {
            "name one with --consumer; `tower-inbox status` shows the ones there are"
        }
        StoreErrorKind::KeyChanged => "give another name with --consumer",
        _ => return None,
    })
}
