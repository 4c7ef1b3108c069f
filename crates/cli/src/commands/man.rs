//! `sterna man`.

use std::path::Path;

use anyhow::{Context, Result};
use clap_mangen::Man;

use crate::args;
use crate::output::Output;

/// Prints the main page, or writes a page for each subcommand.
pub fn run(directory: Option<&Path>, output: Output) -> Result<u8> {
    let Some(directory) = directory else {
        let mut page = Vec::new();
        Man::new(args::command()).render(&mut page)?;
        output.result(&String::from_utf8_lossy(&page))?;
        return Ok(0);
    };
    let shown = directory.display();
    std::fs::create_dir_all(directory).with_context(|| format!("Cannot create {shown}"))?;
    clap_mangen::generate_to(args::command(), directory)
        .with_context(|| format!("Cannot write the manual to {shown}"))?;
    Ok(0)
}
