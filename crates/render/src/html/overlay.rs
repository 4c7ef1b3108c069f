//! A page on which several runs lie over each other.

use maud::html;
use sterna_report::Report;

use super::{
    Detail, Named, Scripts,
    chart::switchover,
    figure::{Chart, Mark, MarkKind},
    labels::{self, ending},
    several::{self, Drawn},
    shell::Shell,
    table::{Cell, Table, Tone},
};
use crate::number::seconds;

/// The stops of more runs than these would hide their lines.
const MARKED_RUNS: usize = 8;

/// What stands on a page with several runs.
pub struct Overlay<'a> {
    /// The heading of the page.
    pub title: &'a str,
    /// What there is to say first; may be empty.
    pub lead: &'a str,
    /// What was run; with more than eight the colours repeat, with dashes.
    pub runs: &'a [Named<'a>],
    /// Tables below the heading, each with its heading.
    pub tables: &'a [(&'a str, Table)],
    /// A path to the page of each run, as seen from this one; empty where there are none.
    pub pages: &'a [String],
    /// Where plotly is.
    pub scripts: Scripts<'a>,
    /// How much is drawn.
    pub detail: Detail,
    /// Ways to other pages: a text, and a path.
    pub ways: &'a [(String, String)],
}

/// The page.
pub fn overlay(overlay: &Overlay<'_>) -> String {
    let charts = charts(overlay);
    let body = html! {
        div.head {
            h1 { (overlay.title) }
            @if !overlay.lead.is_empty() { p.lead { (overlay.lead) } }
        }
        @for (index, (heading, table)) in overlay.tables.iter().enumerate() {
            @let id = format!("table-{index}");
            section aria-labelledby=(id) {
                h2 id=(id) { (heading) }
                (table.markup())
            }
        }
        section aria-labelledby="runs" {
            h2 #runs { "Runs" }
            (runs(overlay.runs, overlay.pages).markup())
        }
        @if !charts.is_empty() {
            section aria-labelledby="charts" {
                div.charts-head {
                    h2 #charts { "How they went" }
                    div.windows role="group" aria-label="Time shown in the charts" data-windows hidden {
                        button type="button" data-window="all" aria-pressed="true" { "Whole runs" }
                    }
                }
                div.charts { @for chart in &charts { (chart.markup()) } }
            }
        }
    };
    let tool = overlay.runs.first().map_or("sterna".to_owned(), |it| labels::tool(it.report));
    Shell {
        title: overlay.title,
        scripts: overlay.scripts,
        ways: overlay.ways,
        body,
        charts: &charts,
        tool: &tool,
    }
    .page()
}

/// One row for each run, with its headline numbers.
pub fn runs(runs: &[Named<'_>], pages: &[String]) -> Table {
    let mut table = Table::new(
        "Runs",
        &[
            "run",
            "verdict",
            "memory",
            "total time",
            "downtime",
            "blackout",
            "lost work",
            "on the wire",
            "passes",
        ],
    );
    table.sortable = true;
    for (index, run) in runs.iter().enumerate() {
        let name = Cell::words(run.name);
        let summary = &run.report.summary;
        let ending = ending(run.report);
        let verdict =
            Cell::words(format!("{} {}", ending.sign, ending.word)).toned(tone(ending.class));
        table.rows.push(vec![
            match pages.get(index) {
                Some(page) => name.leading_to(page),
                None => name,
            },
            verdict,
            Cell::words(summary.integrity.as_str()),
            Cell::number(summary.total_time_seconds, seconds),
            downtime(run.report),
            Cell::number(summary.blackout_seconds, seconds),
            Cell::number(summary.lost_work_seconds, seconds),
            Cell::number(summary.wire_bytes.map(|it| it as f64), sterna_units::human_bytes),
            Cell::number(Some(summary.passes as f64), |it| format!("{it:.0}")),
        ]);
    }
    table
}

fn downtime(report: &Report) -> Cell {
    let cell = Cell {
        text: crate::downtime::short(report),
        ..Cell::number(report.summary.downtime_seconds, seconds)
    };
    if report.summary.downtime_over_limit().is_some() { cell.toned(Tone::Bad) } else { cell }
}

fn tone(class: &str) -> Tone {
    match class {
        "completed" => Tone::Good,
        "failed" | "lost" | "corrupt" => Tone::Bad,
        _ => Tone::Doubtful,
    }
}

fn charts(overlay: &Overlay<'_>) -> Vec<Chart> {
    let drawn: Vec<Drawn<'_>> = overlay.runs.iter().map(alone).collect();
    let mut charts = several::charts(&drawn, overlay.detail, "", "");
    if overlay.runs.len() <= MARKED_RUNS {
        for chart in &mut charts {
            chart.marks = overlay.runs.iter().filter_map(stop).collect();
        }
    }
    charts
}

fn alone<'a>(run: &Named<'a>) -> Drawn<'a> {
    Drawn { name: run.name.to_owned(), reports: vec![run.report] }
}

/// When the guest stood in a run.
fn stop(run: &Named<'_>) -> Option<Mark> {
    let (from, to) = switchover(run.report)?;
    let text = format!("{} stopped", run.name);
    Some(Mark { kind: MarkKind::Switchover, from, to: Some(to), text })
}
