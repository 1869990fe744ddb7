use clap::CommandFactory;

use crate::{
    args::{Cli, CompletionsArgs},
    error::Failure,
    exit::Exit,
    output,
};

/// Prints a completion script for a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tower-inbox", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
