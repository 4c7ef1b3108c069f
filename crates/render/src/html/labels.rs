//! Names for people: what a run is called, and how it ended.

use maud::{Markup, html};
use sterna_report::{Integrity, Report, Verdict};

/// How a run ended, as a page shows it: never by colour alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Name of the style.
    pub class: &'static str,
    /// A sign that is told apart without colours.
    pub sign: &'static str,
    /// The same in a word or two.
    pub word: &'static str,
}

/// How a run ended; what is corrupt outranks every verdict, and a missed threshold the success of the migration.
pub fn ending(report: &Report) -> Ending {
    let summary = &report.summary;
    let (class, sign, word) = match (summary.verdict, summary.integrity) {
        (_, Integrity::Corrupt) if summary.memory_integrity() == Integrity::Corrupt => {
            ("corrupt", "☠", "memory corrupt")
        }
        (_, Integrity::Corrupt) => ("corrupt", "☠", "disk corrupt"),
        _ if report.misses_a_threshold() => ("failed", "!", "threshold missed"),
        _ if report.engine.is_instrument => ("interrupted", "–", "no migration"),
        (Verdict::Completed, _) => ("completed", "✓", "completed"),
        (Verdict::CompletedForced, _) => ("forced", "»", "completed, but forced"),
        (Verdict::Cancelled, _) => ("cancelled", "■", "cancelled"),
        (Verdict::Failed, _) => ("failed", "✕", "failed"),
        (Verdict::Lost, _) => ("lost", "✝", "lost"),
        (Verdict::Unsupported, _) => ("unsupported", "∅", "unsupported"),
        (Verdict::Interrupted, _) => ("interrupted", "…", "interrupted"),
    };
    Ending { class, sign, word }
}

impl Ending {
    /// Sign and word in one shape.
    pub fn badge(self) -> Markup {
        html! {
            span class={ "badge " (self.class) } {
                span aria-hidden="true" { (self.sign) } " " (self.word)
            }
        }
    }
}

/// What the run is called: the scenario's name, or what it is.
pub fn title(report: &Report) -> String {
    let name = report.scenario.get("name").and_then(|it| it.as_str());
    match name.map(str::trim).filter(|it| !it.is_empty()) {
        Some(name) => name.to_owned(),
        None if report.engine.is_instrument => format!("A measurement by {}", report.tool.name),
        None => format!("A migration on the engine {}", report.engine.name),
    }
}

/// The program that wrote the report.
pub fn tool(report: &Report) -> String {
    format!("{} {}", report.tool.name, report.tool.version)
}
