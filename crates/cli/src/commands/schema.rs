//! `sterna schema`.

use anyhow::Result;

use sterna_report::Document;

use crate::output::Output;

/// Prints the JSON Schema of a document.
pub fn run(document: Document, output: Output) -> Result<u8> {
    output.result(&format!("{:#}\n", sterna_report::schema_of(document)))?;
    Ok(0)
}
