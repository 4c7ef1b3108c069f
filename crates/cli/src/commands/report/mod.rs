//! `sterna report`: what was seen, in the form that a reader wants.

mod csv;
mod html;
mod input;
mod instruments;
mod manifest;
mod place;
mod site;
mod slim;
mod summary;
mod texts;

pub(super) use input::read as read_report;
pub use input::stdin;

use anyhow::Result;

use input::Inputs;

use crate::args::{ReportForm, ReportOptions};
use crate::output::Output;

/// The exit code for corrupt memory and for missed thresholds, wherever they are seen.
const BAD: u8 = 4;

/// The exit code for a report that cannot be read, also when the others were shown.
const UNREADABLE: u8 = 2;

/// What there was to be seen in reports, besides what is shown.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Memory was corrupt in a run, or a threshold was missed.
    is_bad: bool,
    /// A batch lists a report that cannot be read.
    is_damaged: bool,
}

/// Shows reports.
pub fn run(options: &ReportOptions, output: Output) -> Result<u8> {
    let inputs = input::find(&options.inputs)?;
    let instruments = match &inputs {
        Inputs::Reports(reports) => instruments::run(options, reports, output)?,
        Inputs::Batch(..) => None,
    };
    let seen = match (instruments, options.form) {
        (Some(seen), _) => seen,
        (None, ReportForm::Summary) => summary::run(options, &inputs, output)?,
        (None, ReportForm::Html) => html::run(options, &inputs, output)?,
        (None, ReportForm::Csv) => csv::run(options, &inputs, output)?,
        (None, ReportForm::Markdown | ReportForm::OpenMetrics | ReportForm::JUnit) => {
            texts::run(options, &inputs, output)?
        }
    };
    Ok(match seen {
        Seen { is_bad: true, .. } => BAD,
        Seen { is_damaged: true, .. } => UNREADABLE,
        Seen { .. } => 0,
    })
}
