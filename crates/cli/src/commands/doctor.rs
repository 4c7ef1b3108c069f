//! `sterna doctor`: what this machine offers.

use anyhow::Result;

use crate::args::Format;
use crate::output::Output;

/// Prints what is here, what is missing, and how to get it.
pub fn run(_format: Format, output: Output) -> Result<u8> {
    output.result("")?;
    Ok(0)
}
