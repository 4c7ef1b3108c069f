//! A page on which several runs lie over each other.

use maud::html;
use sterna_report::Report;

use super::{
    Detail, Named, Scripts,
    chart::{Scale, guest_total, switchover, thin, wire_rate},
    figure::{Axis, Chart, Mark, MarkKind, Series, Shape},
    labels::{self, ending},
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
    let charts: Vec<Chart> =
        charts(overlay).into_iter().filter(|chart| !chart.is_empty()).collect();
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
        let ending = ending(summary.verdict, summary.integrity);
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
            Cell::number(summary.downtime_seconds, seconds),
            Cell::number(summary.blackout_seconds, seconds),
            Cell::number(summary.lost_work_seconds, seconds),
            Cell::number(summary.wire_bytes.map(|it| it as f64), sterna_units::human_bytes),
            Cell::number(Some(summary.passes as f64), |it| format!("{it:.0}")),
        ]);
    }
    table
}

fn tone(class: &str) -> Tone {
    match class {
        "completed" => Tone::Good,
        "failed" | "lost" | "corrupt" => Tone::Bad,
        _ => Tone::Doubtful,
    }
}

/// How a chart over several runs is made: a title, what it says, the title of its axis, and the points of a run.
struct Kind {
    id: &'static str,
    title: &'static str,
    caption: &'static str,
    shape: Shape,
    points: fn(&Report) -> Vec<(f64, f64)>,
    scale: fn(f64) -> Scale,
}

const KINDS: [Kind; 4] = [
    Kind {
        id: "guest",
        title: "What the guests got done",
        caption: "Page writes per second as a share of each run's own baseline, or in pages where one has none.",
        shape: Shape::Backwards,
        points: guest_total,
        scale: Scale::pages_per_second,
    },
    Kind {
        id: "memory",
        title: "What was left to send",
        caption: "Guest memory still to be sent.",
        shape: Shape::Line,
        points: |report| {
            let polls = report.timeline.iter();
            polls.filter_map(|it| Some((it.t_seconds, it.remaining_bytes? as f64))).collect()
        },
        scale: Scale::bytes,
    },
    Kind {
        id: "rates",
        title: "What went over the wire",
        caption: "Bytes given to the network, in windows of at least 100 ms.",
        shape: Shape::Backwards,
        points: wire_rate,
        scale: Scale::bytes_per_second,
    },
    Kind {
        id: "throttle",
        title: "How far the guests were throttled",
        caption: "How much of their time the engine held the guest's processors back.",
        shape: Shape::Forwards,
        points: |report| {
            let polls = report.timeline.iter();
            polls.filter_map(|it| Some((it.t_seconds, it.throttle_percent?))).collect()
        },
        scale: |_| Scale { divisor: 1.0, unit: "%" },
    },
];

fn charts(overlay: &Overlay<'_>) -> Vec<Chart> {
    KINDS.iter().map(|kind| chart(kind, overlay)).collect()
}

fn chart(kind: &Kind, overlay: &Overlay<'_>) -> Chart {
    let most = overlay.detail.points_per_chart / overlay.runs.len().max(1);
    let mut series: Vec<Vec<(f64, f64)>> =
        overlay.runs.iter().map(|run| thin((kind.points)(run.report), most.max(50))).collect();
    let is_zero = |points: &Vec<(f64, f64)>| !points.iter().any(|it| it.1 > 0.0);
    if kind.id == "throttle" && series.iter().all(is_zero) {
        series.iter_mut().for_each(Vec::clear);
    }
    let scale = match kind.id {
        "guest" => share_of_baseline(overlay.runs, &mut series),
        _ => None,
    };
    let largest = series.iter().flatten().map(|it| it.1).filter(|it| it.is_finite());
    let scale = scale.unwrap_or((kind.scale)(largest.fold(0.0, f64::max)));
    let mut chart = Chart::over_time(kind.id, kind.title);
    chart.caption = kind.caption.to_owned();
    chart.axes.push(Axis { title: scale.unit.to_owned(), from_zero: true, ..Axis::default() });
    for (index, (run, points)) in overlay.runs.iter().zip(series).enumerate() {
        if !points.is_empty() {
            chart.series.push(Series {
                shape: kind.shape,
                unit: scale.unit.to_owned(),
                dash: index >= 8,
                ..Series::new(run.name, scale.points(points), 1 + (index % 8) as u8)
            });
        }
    }
    if overlay.runs.len() <= MARKED_RUNS {
        chart.marks = overlay.runs.iter().filter_map(stop).collect();
    }
    chart.table = extremes(kind, &chart);
    chart
}

/// When the guest stood in a run.
fn stop(run: &Named<'_>) -> Option<Mark> {
    let (from, to) = switchover(run.report)?;
    let text = format!("{} stopped", run.name);
    Some(Mark { kind: MarkKind::Switchover, from, to: Some(to), text })
}

/// Guests of different speed are compared with themselves, where each has a baseline.
fn share_of_baseline(runs: &[Named<'_>], series: &mut [Vec<(f64, f64)>]) -> Option<Scale> {
    let baselines: Option<Vec<f64>> = runs
        .iter()
        .map(|run| run.report.summary.baseline_pages_per_second.filter(|it| *it > 0.0))
        .collect();
    for (points, baseline) in series.iter_mut().zip(baselines?) {
        points.iter_mut().for_each(|it| it.1 *= 100.0 / baseline);
    }
    Some(Scale { divisor: 1.0, unit: "% of the baseline" })
}

/// The text equivalent: lowest, mean and highest value of each run.
fn extremes(kind: &Kind, chart: &Chart) -> Table {
    let unit = chart.axes.first().map_or("", |it| it.title.as_str());
    let heading = |word: &str| format!("{word}, {unit}");
    let mut table = Table::new(kind.title, &["run", "from, s", "to, s"]);
    table.columns.extend(["lowest", "highest", "last"].map(heading));
    for series in &chart.series {
        let known = || series.points.iter().filter(|it| it.1.is_finite());
        let number = |it: Option<f64>| Cell::number(it, |it| format!("{it:.4}"));
        table.rows.push(vec![
            Cell::words(&series.name),
            number(known().map(|it| it.0).reduce(f64::min)),
            number(known().map(|it| it.0).reduce(f64::max)),
            number(known().map(|it| it.1).reduce(f64::min)),
            number(known().map(|it| it.1).reduce(f64::max)),
            number(known().next_back().map(|it| it.1)),
        ]);
    }
    table
}
