//! How long single writes took.

use sterna_report::{GuestSample, Latency, Report};

use super::{evenly, marks, thin};
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

/// How the times of single writes were spread, over the time of the run.
///
/// Samples carry percentiles, and nothing between two of them is made up: a band says how many
/// writes were in it, not where.
pub fn latency_heat(report: &Report, detail: Detail) -> Chart {
    let mut chart = Chart::over_time("latency", "How long writes took, over time");
    let timed = || report.guest.iter().filter_map(|it| Some((it, it.latency?)));
    for (index, (name, level)) in LEVELS.iter().enumerate() {
        let points: Vec<(f64, f64)> = timed()
            .filter(|(_, times)| times.samples > 0)
            .map(|(it, times)| (it.t_seconds, level(&times).max(1) as f64 / MICROSECOND))
            .collect();
        if !points.is_empty() {
            chart.series.push(Series {
                shape: Shape::Band,
                unit: "µs".to_owned(),
                ..Series::new(*name, thin(points, detail.points_per_chart / 4), 11 + index as u8)
            });
        }
    }
    chart.axes.push(Axis { title: "at most, µs".to_owned(), log: true, ..Axis::default() });
    chart.marks = marks(report);
    chart.caption = "Of the writes of each sample, half are in the darkest band, the slowest in a thousand in the faintest. \
         The axis is logarithmic."
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

/// Which share of all writes took longer than a time, before and during the migration.
pub fn latency_tail(report: &Report) -> Chart {
    let mut chart = Chart::over_time("tail", "How many writes were slow");
    chart.across = "longer than, µs";
    chart.over_time = false;
    chart.across_log = true;
    chart.height = 260;
    chart.half = true;
    chart.table = Table::new(
        "How long writes took",
        &["when", "writes timed", "p50", "p99", "p99.9", "longest"],
    );
    let times = report.summary.write_latency;
    for (name, times, colour) in
        [("baseline", times.baseline, 2), ("during migration", times.during, 1)]
    {
        let Some(times) = times.filter(|it| it.samples > 0) else { continue };
        let slowest = 100.0 / times.samples as f64;
        let shares = [(times.p50_ns, 50.0), (times.p99_ns, 1.0), (times.p999_ns, 0.1)];
        let shares = shares.into_iter().filter(|it| it.1 > slowest);
        let points = shares.chain([(times.max_ns, slowest)]);
        let points = points.map(|(ns, share)| (ns.max(1) as f64 / MICROSECOND, share)).collect();
        chart.series.push(Series {
            unit: "% of the writes".to_owned(),
            shape: Shape::Points,
            ..Series::new(name, points, colour)
        });
        let mut row = vec![Cell::words(name)];
        row.extend(cells(&times));
        chart.table.rows.push(row);
    }
    chart.axes.push(Axis { title: "% of the writes".to_owned(), log: true, ..Axis::default() });
    chart.caption = "The share of writes that took longer than a time; both axes are logarithmic. \
         The last point is the slowest write."
        .to_owned();
    chart
}

fn cells(times: &Latency) -> Vec<Cell> {
    let mut cells = vec![Cell::number(Some(times.samples as f64), |it| format!("{it:.0}"))];
    for (_, level) in LEVELS {
        let ns = level(times);
        cells.push(Cell::number(Some(ns as f64), |_| nanoseconds(ns)));
    }
    cells
}
