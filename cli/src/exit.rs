use std::process::ExitCode;

/// How the process ends. 3 is kept for work that is held back for somebody's approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything was done that could be done; dead letters and failures are in the report.
    Done,
    /// Stopped on the way, by a signal or because something broke.
    Stopped,
    /// The command line, the environment or the config file makes no sense.
    Usage,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Stopped => Self::from(1),
            Exit::Usage => Self::from(2),
        }
    }
}
