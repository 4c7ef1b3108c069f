//! `sterna suites`.

use std::fmt::Write;

use anyhow::{Result, anyhow};
use sterna_scenario::Suite;

use crate::output::Output;
use crate::usage;

/// Lists the standard suites, or shows one.
pub fn run(show: Option<&str>, output: Output) -> Result<u8> {
    if let Some(name) = show {
        let text = Suite::text_of(name).ok_or_else(|| unknown(name))?;
        output.result(text)?;
        return Ok(0);
    }
    let mut list = String::new();
    for name in Suite::names() {
        let suite = Suite::from_toml(name, Suite::text_of(name).unwrap_or_default())?;
        writeln!(list, "{name:<20} {:>4} runs  {}", suite.runs.len(), suite.about)?;
    }
    output.result(&list)?;
    Ok(0)
}

/// The name of no standard suite.
pub fn unknown(name: &str) -> anyhow::Error {
    let known: Vec<&str> = Suite::names().collect();
    usage(anyhow!(
        "There is no suite `{name}`; known are {}, or give a file such as ./{name}.toml",
        known.join(", ")
    ))
}
