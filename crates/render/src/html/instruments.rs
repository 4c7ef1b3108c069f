//! The page of what `sterna dirty`, `sterna probe` and `sterna stream` saw, alone or several over one time axis.

use maud::{Markup, html};
use sterna_report::dirty::DirtyInterval;
use sterna_report::instrument::Instrument;
use sterna_report::stream::{StreamInterval, StreamSide};
use sterna_units::human_bytes_per_second;

use super::chart::{Scale, evenly, largest, thin};
use super::figure::{Axis, Chart, Series, Shape};
use super::shell::Shell;
use super::table::{Cell, Table, Tone};
use super::{Detail, Scripts};
use crate::instruments::{self, Placed};
use crate::number::seconds;

/// More outages than these are counted, and not drawn.
const SHOWN_OUTAGES: usize = 1000;

/// The page.
pub fn instruments(all: &[Placed<'_>], scripts: Scripts<'_>, detail: Detail) -> String {
    let mut charts = vec![written(all, detail), carried(all, detail), silent(all)];
    charts.retain(|it| !it.is_empty() || !it.rows.is_empty());
    let title = instruments::title(all);
    let body = html! {
        div.head {
            h1 { (title) }
            p.lead { (lead(all)) }
        }
        @if !charts.is_empty() {
            section aria-labelledby="charts" {
                div.charts-head { h2 #charts { "How it went" } }
                div.charts { @for chart in &charts { (chart.markup()) } }
            }
        }
        @for placed in all { (section(placed, all.len())) }
    };
    let tool = all.first().map(|it| it.instrument.tool()).cloned().unwrap_or_default();
    let tool = format!("sterna {}", tool.version);
    Shell { title: &title, scripts, ways: &[], body, charts: &charts, tool: &tool }.page()
}

fn lead(all: &[Placed<'_>]) -> String {
    match all {
        [one] => format!("Began at {}.", one.instrument.started_at()),
        _ => "Times count from the beginning of the first; each report began by the clock of its own machine."
            .to_owned(),
    }
}

fn section(placed: &Placed<'_>, count: usize) -> Markup {
    let mut table = Table::new(placed.name, &["what", "value"]);
    if count > 1 {
        let begins =
            placed.offset_seconds.map_or_else(|| "unknown".to_owned(), |it| format!("{it:.3} s"));
        table.rows.push(vec![Cell::words("begins at"), Cell::words(begins)]);
    }
    for (name, value) in instruments::facts(placed.instrument) {
        table.rows.push(vec![Cell::words(name), Cell::words(value)]);
    }
    let warnings = placed.instrument.warnings();
    html! {
        section {
            h2 { (placed.name) " (" (placed.instrument.command()) ")" }
            (table.markup())
            @if !warnings.is_empty() {
                ul { @for warning in warnings { li { (warning) } } }
            }
        }
    }
}

/// A name, points, and whether it is dashed.
type Line = (String, Vec<(f64, f64)>, bool);

/// A chart over the time of all.
fn over_time(id: &str, title: &str) -> Chart {
    Chart { across: "seconds since the first of them began", ..Chart::over_time(id, title) }
}

/// How fast memory was written.
fn written(all: &[Placed<'_>], detail: Detail) -> Chart {
    let mut chart = over_time("written", "Memory written");
    let mut lines: Vec<Line> = Vec::new();
    for placed in all {
        let Instrument::Dirty(report) = placed.instrument else { continue };
        let offset = placed.offset_seconds.unwrap_or(0.0);
        let points = |value: fn(&DirtyInterval) -> Option<f64>| -> Vec<(f64, f64)> {
            let rows = report.intervals.iter();
            rows.filter_map(|it| Some((offset + it.end_seconds, value(it)?))).collect()
        };
        let touch = points(|it| it.touch_rate_bytes_per_second);
        let dirty = points(|it| it.dirty_rate_bytes_per_second);
        lines.push((format!("{}: touch rate", placed.name), touch, false));
        lines.push((format!("{}: dirty rate", placed.name), dirty, true));
    }
    chart.caption =
        "The touch rate counts every write, the dirty rate each page once in an interval."
            .to_owned();
    draw(&mut chart, lines, detail);
    chart
}

/// What the link carried.
fn carried(all: &[Placed<'_>], detail: Detail) -> Chart {
    let mut chart = over_time("carried", "Pages over the link");
    let mut lines: Vec<Line> = Vec::new();
    for placed in all {
        let Instrument::Stream(report) = placed.instrument else { continue };
        let offset = placed.offset_seconds.unwrap_or(0.0);
        let points =
            |side: StreamSide, value: fn(&StreamInterval) -> Option<f64>| -> Vec<(f64, f64)> {
                let rows = report.intervals.iter().filter(|it| it.side == side);
                rows.filter_map(|it| Some((offset + it.end_seconds, value(it)?))).collect()
            };
        for (side, word) in [(StreamSide::Client, "client"), (StreamSide::Server, "server")] {
            let sent = points(side, |it| it.sent_bytes_per_second);
            let received = points(side, |it| it.received_bytes_per_second);
            lines.push((format!("{}: sent by the {word}", placed.name), sent, false));
            lines.push((format!("{}: received by the {word}", placed.name), received, true));
        }
    }
    chart.caption = "Bytes of pages as memory has them, whatever they take on the wire.".to_owned();
    draw(&mut chart, lines, detail);
    chart
}

/// Lines of bytes a second in one unit, with a table of the same numbers.
fn draw(chart: &mut Chart, lines: Vec<Line>, detail: Detail) {
    let lines: Vec<_> = lines.into_iter().filter(|it| !it.1.is_empty()).collect();
    let scale = Scale::bytes_per_second(largest(lines.iter().map(|it| &it.1)));
    let most = detail.points_per_chart / lines.len().max(1);
    let mut table = Table::new(&chart.title, &["series", "until, s", "bytes a second"]);
    for (index, (name, points, dash)) in lines.into_iter().enumerate() {
        for (at, rate) in evenly(&points, detail.table_rows) {
            table.rows.push(vec![
                Cell::words(&name),
                Cell::number(Some(*at), |it| format!("{it:.3}")),
                Cell::number(Some(*rate), human_bytes_per_second),
            ]);
        }
        chart.series.push(Series {
            shape: Shape::Backwards,
            unit: scale.unit.to_owned(),
            dash,
            ..Series::new(name, scale.points(thin(points, most)), 1 + (index % 7) as u8)
        });
    }
    chart.axes.push(Axis { title: scale.unit.to_owned(), from_zero: true, ..Axis::default() });
    chart.table = table;
}

/// Outages of each probe as spans of time.
fn silent(all: &[Placed<'_>]) -> Chart {
    let mut chart = over_time("silent", "No answer");
    let mut table = Table::new("Outages", &["probe", "from, s", "length", "ended"]);
    let mut left = SHOWN_OUTAGES;
    for placed in all {
        let Instrument::Probe(report) = placed.instrument else { continue };
        let offset = placed.offset_seconds.unwrap_or(0.0);
        for probe in &report.probes {
            let row = chart.rows.len();
            let name = if all.len() > 1 {
                format!("{}: {}", placed.name, probe.name)
            } else {
                probe.name.clone()
            };
            let mut series = Series::new(&name, Vec::new(), 1 + (row % 7) as u8);
            series.shape = Shape::Spans;
            series.unit = "no answer".to_owned();
            for outage in probe.outages.iter().take(left) {
                let from = offset + outage.start_seconds;
                series.points.push((from, row as f64));
                series.until.push(from + outage.length_seconds);
                let ended = Cell::words(if outage.has_ended { "yes" } else { "no" });
                table.rows.push(vec![
                    Cell::words(&name),
                    Cell::number(Some(from), |it| format!("{it:.3}")),
                    Cell::number(Some(outage.length_seconds), seconds),
                    if outage.has_ended { ended } else { ended.toned(Tone::Bad) },
                ]);
            }
            left -= probe.outages.len().min(left);
            chart.rows.push(name);
            chart.series.push(series);
        }
    }
    chart.axes.push(Axis::default());
    chart.height = 120 + 36 * chart.rows.len().min(20) as u32;
    chart.caption =
        "Times in which a probe had no answer although it should have had one.".to_owned();
    chart.table = table;
    chart
}
