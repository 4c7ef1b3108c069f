//! `sterna report`: what was seen, in the form that a reader wants.

mod csv;
mod html;
mod input;
mod manifest;
mod place;
mod site;
mod slim;
mod summary;
mod texts;

use anyhow::Result;

use crate::args::{ReportForm, ReportOptions};
use crate::output::Output;

/// The exit code for corrupt memory, wherever it is seen.
const CORRUPT: u8 = 4;

/// Shows reports.
pub fn run(options: &ReportOptions, output: Output) -> Result<u8> {
    let inputs = input::find(&options.inputs)?;
    let corrupt = match options.form {
        ReportForm::Summary => summary::run(options, &inputs, output)?,
        ReportForm::Html => html::run(options, &inputs, output)?,
        ReportForm::Csv => csv::run(options, &inputs, output)?,
        ReportForm::Markdown | ReportForm::OpenMetrics | ReportForm::JUnit => {
            texts::run(options, &inputs, output)?
        }
    };
    Ok(if corrupt { CORRUPT } else { 0 })
}
