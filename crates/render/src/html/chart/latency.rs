//! How long single writes took.

use sterna_report::{GuestSample, Latency, Report};

use super::{evenly, heat::heat, marks, thin};
use crate::{
    html::{
        Detail, Table,
        figure::{Axis, Chart, Series, Shape},
        table::Cell,
    },
    number::nanoseconds,
};

const MICROSECOND: f64 = 1000.0;

/// How a value is read off the times of an interval.
type Level = fn(&Latency) -> u64;

const LEVELS: [(&str, Level); 4] = [
    ("half of the writes", |it| it.p50_ns),
    ("99 %", |it| it.p99_ns),
    ("99.9 %", |it| it.p999_ns),
    ("all of them", |it| it.max_ns),
];
/// The colours of their lines upon a map, which is blue.
const LINES: [u8; 4] = [2, 5, 4, 8];

/// How the times of single writes were spread, over the time of the run.
///
/// Where samples carry histograms, these make a map with the percentiles on it. Others carry
/// percentiles only, and nothing between two of them is made up: a band says how many writes were
/// in it, not where.
pub fn latency_heat(report: &Report, detail: Detail) -> Chart {
    let mut chart = Chart::over_time("latency", "How long writes took, over time");
    chart.heat = heat(report, detail);
    let is_map = chart.heat.is_some();
    let timed = || report.guest.iter().filter_map(|it| Some((it, it.latency?)));
    for (index, (name, level)) in LEVELS.iter().enumerate() {
        let micros = |times: Latency| level(&times).max(1) as f64 / MICROSECOND;
        let known = |it: &GuestSample| it.latency.filter(|it| it.samples > 0).map(micros);
        let points: Vec<(f64, f64)> = match is_map {
            true => line(&report.guest, known),
            false => {
                report.guest.iter().filter_map(|it| Some((it.t_seconds, known(it)?))).collect()
            }
        };
        if points.iter().any(|it| it.1.is_finite()) {
            let colour = if is_map { LINES[index] } else { 11 + index as u8 };
            chart.series.push(Series {
                shape: if is_map { Shape::Backwards } else { Shape::Band },
                unit: "µs".to_owned(),
                thin: is_map,
                ..Series::new(*name, thin(points, detail.points_per_chart / 4), colour)
            });
        }
    }
    chart.axes.push(Axis { title: "µs".to_owned(), log: true, ..Axis::default() });
    chart.marks = marks(report);
    chart.caption = match is_map {
        true => "Each column is the histogram of a sample: the stronger a cell, the more of the writes took that long. \
             A line says how long so many of them took at most. Both scales are logarithmic.",
        false => "Only percentiles were recorded: of the writes of each sample, half are in the darkest band, the slowest \
             in a thousand in the faintest. The axis is logarithmic.",
    }
    .to_owned();
    let samples: Vec<&GuestSample> = timed().map(|it| it.0).collect();
    chart.table = Table::new(
        "How long writes took, over time",
        &["until, s", "side", "writes timed", "p50", "p99", "p99.9", "longest"],
    );
    for sample in evenly(&samples, detail.table_rows) {
        let Some(times) = sample.latency else { continue };
        let mut row = vec![
            Cell::number(Some(sample.t_seconds), |it| format!("{it:.3}")),
            Cell::words(crate::text::side_word(sample.side)),
        ];
        row.extend(cells(&times));
        chart.table.rows.push(row);
    }
    chart
}

/// The values of timed samples, each from its beginning to its end. The line is broken where no sample covers the
/// time, and not where one is so short that nothing was timed in it.
fn line(samples: &[GuestSample], value: impl Fn(&GuestSample) -> Option<f64>) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    let (mut covered, mut is_broken) = (f64::NEG_INFINITY, true);
    for sample in samples {
        let begin = sample.t_seconds - sample.interval_seconds;
        if begin > covered + 1e-6 && !points.is_empty() {
            points.push((begin, f64::NAN));
            is_broken = true;
        }
        covered = covered.max(sample.t_seconds);
        let Some(value) = value(sample) else { continue };
        if is_broken {
            points.push((begin, value));
            is_broken = false;
        }
        points.push((sample.t_seconds, value));
    }
    points
}

/// The numbers of a distribution, for the row of a table.
pub(super) fn cells(times: &Latency) -> Vec<Cell> {
    let mut cells = vec![Cell::number(Some(times.samples as f64), |it| format!("{it:.0}"))];
    for (_, level) in LEVELS {
        let ns = level(times);
        cells.push(Cell::number(Some(ns as f64), |_| nanoseconds(ns)));
    }
    cells
}
