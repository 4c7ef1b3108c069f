//! A report as text: what an expert wants to know at a look, in the order of the questions.

mod cost;
mod fleet;
mod guest;
mod headline;
mod hops;
mod passes;
mod techniques;

use sterna_report::{Report, Verdict};

use crate::{Style, page::Page};

pub(crate) use guest::{blackout_phase, side_word};
pub use headline::one_line;
pub(crate) use headline::{append_in_brackets, setting};

/// The whole report as text that ends with a newline.
///
/// The first line carries the verdict, the state of the memory, total time and downtime; it also
/// says so when a number in the report is not what a real hypervisor would show.
pub fn text(report: &Report, style: Style) -> String {
    let mut page = Page::new(style);
    headline::verdict(report, &mut page);
    headline::run(report, &mut page);
    let is_started = report.summary.verdict != Verdict::Unsupported;
    if !report.hops.is_empty() {
        hops::section(report, &mut page);
    } else if let Some(fleet) = report.fleet.as_ref().filter(|_| is_started) {
        fleet::section(fleet, &mut page);
    } else if is_started {
        headline::time(report, &mut page);
        headline::memory(report, &mut page);
        techniques::section(report, &mut page);
        passes::section(report, &mut page);
        guest::section(report, &mut page);
        cost::section(report, &mut page);
    }
    crate::foresight::advice_section(&report.advice, &mut page);
    headline::warnings(report, &mut page);
    page.finish()
}

#[cfg(test)]
mod readme;
#[cfg(test)]
mod tests;
