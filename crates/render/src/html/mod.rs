//! Reports as pages for a browser, which need no network: one file each, or a directory with one script for all.
//!
//! A page loads nothing and says so in its security policy, which names the hashes of its own
//! scripts and forbids everything else: whatever text a report carries, no script in it can run.
//! Its charts are drawn by plotly from numbers that are in the page, and each chart has a table with
//! the same numbers for those who cannot see it, or who print it.

mod batch;
mod chart;
mod comparison;
mod facts;
mod figure;
mod instruments;
mod labels;
mod overlay;
mod run;
mod script;
mod several;
mod shell;
mod table;
mod tiles;

pub use batch::{Batch, BatchRun, index};
pub use comparison::{ComparisonPage, comparison};
pub use instruments::instruments;
pub(crate) use labels::{ending, title};
pub use overlay::{Overlay, overlay};
pub use run::run;
pub use script::{PLOTLY_FILE, Scripts, shared_files};
pub use table::{Cell, Table, Tone};

use sterna_report::Report;

/// A report with the name by which a page calls it.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// A name that is short and unlike the others on the page.
    pub name: &'a str,
    /// What was seen.
    pub report: &'a Report,
}

/// How much of a report's series a chart draws.
///
/// A series with more points is thinned so that its extremes stay: of each stretch the lowest and
/// the highest point. The page says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detail {
    /// Points of a chart, all its series together.
    pub points_per_chart: usize,
    /// Rows of the table beside a chart.
    pub table_rows: usize,
}

impl Detail {
    /// For a page that stands alone.
    pub const FULL: Detail = Detail { points_per_chart: 24_000, table_rows: 40 };
    /// For one page of many, which together shall stay small.
    pub const BATCH: Detail = Detail { points_per_chart: 900, table_rows: 16 };
}
