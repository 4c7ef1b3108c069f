//! Reports for people: text for a terminal, pages for a browser, Markdown; and for programs: CSV, OpenMetrics, JUnit.
//!
//! [`text()`] makes it of a report; [`Page`] and [`number`] are for other results that shall look alike.
//!
//! Nothing is measured or computed here beyond a difference of two numbers that stand side by side
//! in the report. What the report does not know is printed as `unknown`, or as `–` in a table, and
//! never as 0. Nothing is printed either: every function returns its text.

#![forbid(unsafe_code)]

mod comparison;
mod csv;
mod downtime;
mod foresight;
pub mod html;
mod instruments;
mod junit;
mod markdown;
pub mod number;
mod openmetrics;
mod page;
mod table;
mod text;
mod thresholds;

pub use comparison::{comparison_line, comparison_markdown, comparison_text, repeats_text};
pub use csv::{CsvTable, csv_header, csv_rows};
pub use foresight::{advice_text, diagnosis_text, prediction_text};
pub use instruments::{Placed, instruments_text};
pub use junit::{TestCase, junit};
pub use markdown::{escape as markdown_text, markdown};
pub use openmetrics::openmetrics;
pub use page::{Judgement, Page, Tone};
pub use text::{one_line, text};

/// How a text may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether the text may carry ANSI colours.
    pub colour: bool,
    /// Columns of the terminal; anything narrower than 40 is taken as 40. Paragraphs are wrapped
    /// to it, and tables leave out their less important columns.
    pub width: usize,
}
