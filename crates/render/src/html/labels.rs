//! Names for people: what a run is called, and how it ended.

use maud::{Markup, html};
use sterna_report::{Integrity, Report, Verdict};

use crate::number::seconds;

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

/// The scenario's name, if it has one.
pub fn name(report: &Report) -> Option<&str> {
    let name = report.scenario.get("name").and_then(|it| it.as_str());
    name.map(str::trim).filter(|it| !it.is_empty())
}

/// What a reader opens the page for, in a sentence: how it ended, how long it took, and how long the guest was frozen.
pub fn answer(report: &Report) -> String {
    let summary = &report.summary;
    if report.engine.is_instrument {
        return format!("A measurement by {}", report.tool.name);
    }
    let ending = match (summary.verdict, summary.integrity) {
        (_, Integrity::Corrupt) if summary.memory_integrity() == Integrity::Corrupt => {
            "Memory corrupt"
        }
        (_, Integrity::Corrupt) => "Disk corrupt",
        (Verdict::Completed, _) => "Completed",
        (Verdict::CompletedForced, _) => "Completed, but forced,",
        (Verdict::Cancelled, _) => "Cancelled",
        (Verdict::Failed, _) => "Failed",
        (Verdict::Lost, _) => "Guest lost",
        (Verdict::Unsupported, _) => return "Not supported, nothing was started".to_owned(),
        (Verdict::Interrupted, _) => "Interrupted",
    };
    let has_moved = matches!(summary.verdict, Verdict::Completed | Verdict::CompletedForced);
    let how = if has_moved { "in" } else { "after" };
    let total = summary.total_time_seconds.map(seconds);
    let total = total.map_or_else(String::new, |it| format!(" {how} {it}"));
    let hops = match report.hops.len() {
        0 => String::new(),
        hops => format!(" over {hops} hops"),
    };
    let frozen = summary.downtime_seconds.map_or_else(String::new, |it| {
        let longest =
            if report.hops.is_empty() && report.fleet.is_none() { "" } else { " at most" };
        let limit = summary.downtime_limit_seconds;
        let limit = limit.map_or_else(String::new, |it| format!(", limit {}", seconds(it)));
        format!("; the guest was frozen for{longest} {}{limit}", seconds(it))
    });
    let stays = match summary.verdict {
        Verdict::Cancelled | Verdict::Failed if summary.total_time_seconds.is_some() => {
            "; the guest runs on at the source"
        }
        _ => "",
    };
    format!("{ending}{total}{hops}{frozen}{stays}")
}

/// What the run is called: the scenario's name, or what it is.
pub fn title(report: &Report) -> String {
    match name(report) {
        Some(name) => name.to_owned(),
        None if report.engine.is_instrument => format!("A measurement by {}", report.tool.name),
        None => format!("A migration on the engine {}", report.engine.name),
    }
}

/// The program that wrote the report.
pub fn tool(report: &Report) -> String {
    format!("{} {}", report.tool.name, report.tool.version)
}
