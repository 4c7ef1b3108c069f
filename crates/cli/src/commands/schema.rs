//! `sterna schema`.

use anyhow::Result;

use crate::output::Output;

/// Prints the report's JSON Schema.
pub fn run(output: Output) -> Result<u8> {
    output.result(&format!("{:#}\n", sterna_report::schema()))?;
    Ok(0)
}
