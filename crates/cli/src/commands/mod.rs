//! One file for each subcommand.

mod completions;
mod doctor;
mod host;
mod man;
mod run;
mod schema;

use anyhow::Result;

use crate::args::{Action, Invocation};

/// Does what was asked; returns the exit code.
pub fn run(invocation: Invocation) -> Result<u8> {
    let Invocation { output, action } = invocation;
    match action {
        Action::Run(options) => run::run(*options, output),
        Action::Host => host::run(),
        Action::Doctor { format } => doctor::run(format, output),
        Action::Schema => schema::run(output),
        Action::Completions(shell) => completions::run(shell, output),
        Action::Man { directory } => man::run(directory.as_deref(), output),
    }
}
