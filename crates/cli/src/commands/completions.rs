//! `sterna completions`.

use anyhow::Result;
use clap_complete::Shell;

use crate::args;
use crate::output::Output;

/// Prints the completion script of a shell.
pub fn run(shell: Shell, output: Output) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "sterna", &mut script);
    output.result(&String::from_utf8_lossy(&script))?;
    Ok(0)
}
