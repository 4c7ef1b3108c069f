//! How long all writes took, before the migration and during it.

use std::collections::BTreeMap;

use sterna_report::{GuestSample, Latency, LatencyHistogram, Report};

use super::latency::cells;
use crate::{
    html::{
        Table,
        figure::{Axis, Chart, Series, Shape},
        table::Cell,
    },
    number::nanoseconds,
};

const MICROSECOND: f64 = 1000.0;

/// The sum of many histograms: writes by where their cells begin.
type Cells = BTreeMap<u64, u64>;

/// The histograms of the samples before the migration and during it, as far as there are any.
fn spread(report: &Report) -> [(&'static str, Cells); 2] {
    let end = report.summary.total_time_seconds.unwrap_or(f64::INFINITY);
    let begin = |it: &GuestSample| it.t_seconds - it.interval_seconds;
    let sum = |is_wanted: &dyn Fn(&GuestSample) -> bool| {
        let mut sum = Cells::new();
        let histograms = report.guest.iter().filter(|it| is_wanted(it));
        let cells = histograms.filter_map(|it| it.latency_histogram.as_ref());
        for (from, _, writes) in cells.flat_map(LatencyHistogram::cells).filter(|it| it.2 > 0) {
            let here = sum.entry(from).or_default();
            *here = u64::saturating_add(*here, writes);
        }
        sum
    };
    // A sample across an end belongs to neither.
    let before = sum(&|it| it.t_seconds <= 0.0);
    let during = sum(&|it| begin(it) >= 0.0 && it.t_seconds <= end);
    [("baseline", before), ("during migration", during)]
}

fn all_of(cells: &Cells) -> f64 {
    cells.values().map(|it| *it as f64).sum()
}

/// Which share of the writes took how long.
pub fn latency_spread(report: &Report) -> Chart {
    let mut chart = Chart::over_time("histogram", "How long writes took");
    chart.across = "µs";
    chart.over_time = false;
    chart.across_log = true;
    chart.height = 260;
    chart.half = true;
    chart.table = Table::new(
        "Histogram of how long writes took",
        &["from", "to", "baseline", "during migration"],
    );
    let spread = spread(report);
    for ((name, cells), colour) in spread.iter().zip([2, 1]) {
        let all = all_of(cells);
        let mut points: Vec<(f64, f64)> = Vec::new();
        let mut end = None;
        for (from, writes) in cells {
            // Cells without a write are left out, and on a logarithmic axis there is no line to zero.
            if end.is_some_and(|end| end < *from) {
                points.push((f64::NAN, f64::NAN));
            }
            let to = LatencyHistogram::end_of(*from);
            let share = 100.0 * *writes as f64 / all;
            points.extend([(micros(*from), share), (micros(to), share)]);
            end = Some(to);
        }
        if !points.is_empty() {
            chart.series.push(Series {
                unit: "% of the writes".to_owned(),
                shape: Shape::Forwards,
                ..Series::new(*name, points, colour)
            });
        }
    }
    chart.axes.push(Axis { title: "% of the writes".to_owned(), log: true, ..Axis::default() });
    chart.caption =
        "The share of the writes in each half octave of time; both axes are logarithmic."
            .to_owned();
    let [(_, before), (_, during)] = &spread;
    let mut froms: Vec<u64> = before.keys().chain(during.keys()).copied().collect();
    froms.sort_unstable();
    froms.dedup();
    for from in froms {
        let count = |cells: &Cells| cells.get(&from).map(|it| *it as f64);
        let (end, plain) = (LatencyHistogram::end_of(from), |it: f64| format!("{it:.0}"));
        chart.table.rows.push(vec![
            Cell::number(Some(from as f64), |_| nanoseconds(from)),
            Cell::number(Some(end as f64), |_| nanoseconds(end)),
            Cell::number(count(before), plain),
            Cell::number(count(during), plain),
        ]);
    }
    chart
}

fn micros(ns: u64) -> f64 {
    (ns as f64).max(0.5) / MICROSECOND
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
    let spread = spread(report);
    for (name, times, colour) in [
        ("baseline", times.baseline, 2),
        ("during migration", times.during, 1),
        ("baseline, since due", times.baseline_since_due, 4),
        ("during migration, since due", times.during_since_due, 3),
    ] {
        let Some(times) = times.filter(|it| it.samples > 0) else { continue };
        let points = longer(name, &times, &spread);
        chart.series.push(Series {
            unit: "% of the writes".to_owned(),
            shape: if points.len() > 4 { Shape::Line } else { Shape::Points },
            ..Series::new(name, points, colour)
        });
        let mut row = vec![Cell::words(name)];
        row.extend(cells(&times));
        chart.table.rows.push(row);
    }
    chart.axes.push(Axis { title: "% of the writes".to_owned(), log: true, ..Axis::default() });
    chart.caption = "The share of writes that took longer than a time; both axes are logarithmic. \
         The last point is the slowest write. Time since due is from when the rate made a page due to the end of its \
         write, stalls included."
        .to_owned();
    chart
}

/// Which share of the writes took longer than a time, in percent: for each cell of the histogram where there is one, else
/// for the percentiles that are known.
fn longer(name: &str, times: &Latency, spread: &[(&str, Cells); 2]) -> Vec<(f64, f64)> {
    let slowest = (micros(times.max_ns), 100.0 / times.samples as f64);
    let cells = spread.iter().find(|it| it.0 == name).map(|it| &it.1);
    let Some(cells) = cells.filter(|it| !it.is_empty()) else {
        let known = [(times.p50_ns, 50.0), (times.p99_ns, 1.0), (times.p999_ns, 0.1)];
        let known = known.into_iter().filter(|it| it.1 > slowest.1);
        return known.map(|(ns, share)| (micros(ns), share)).chain([slowest]).collect();
    };
    let all = all_of(cells);
    let mut left = all;
    let mut points = Vec::new();
    for (from, writes) in cells {
        points.push((micros(*from), 100.0 * left / all));
        left -= *writes as f64;
    }
    points.retain(|it| it.0 < slowest.0);
    points.push(slowest);
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_report::{Engine, Host, Side, Tool};

    fn report(samples: &[(f64, &[(u64, u64)])]) -> Report {
        let sample = |(t_seconds, cells): &(f64, &[(u64, u64)])| GuestSample {
            t_seconds: *t_seconds,
            side: Side::Source,
            interval_seconds: 0.5,
            counts_per_worker: vec![1],
            writes_per_second: 10.0,
            checking_seconds: None,
            latency: None,
            latency_histogram: LatencyHistogram::of(cells),
        };
        let (tool, host, engine) = (Tool::default(), Host::default(), Engine::default());
        let empty = Report::new(tool, host, engine, String::new(), serde_json::Map::new());
        let mut report = Report { guest: samples.iter().map(sample).collect(), ..empty };
        report.summary.total_time_seconds = Some(2.0);
        report
    }

    #[test]
    fn samples_before_and_during_are_summed_and_those_across_an_end_are_not() {
        let report = report(&[
            (-1.0, &[(32, 5)]),
            (0.0, &[(32, 5)]),
            (0.25, &[(512, 100)]),
            (1.0, &[(32, 6), (64, 2)]),
            (2.25, &[(512, 100)]),
        ]);
        let [(_, before), (_, during)] = spread(&report);
        assert_eq!(before, Cells::from([(32, 10)]));
        assert_eq!(during, Cells::from([(32, 6), (64, 2)]));
        let chart = latency_spread(&report);
        let during = &chart.series[1].points;
        assert_eq!((during[0], during[1]), ((0.032, 75.0), (0.048, 75.0)));
        assert!(during[2].0.is_nan(), "nothing took from 48 to 64 ns");
        assert_eq!(chart.table.rows.len(), 2);
    }

    #[test]
    fn the_tail_is_as_fine_as_the_histogram_or_has_percentiles_only() {
        let times = Latency { samples: 8, p50_ns: 40, p99_ns: 70, p999_ns: 70, max_ns: 70 };
        let fine = report(&[(1.0, &[(32, 6), (64, 2)])]);
        let found = longer("during migration", &times, &spread(&fine));
        assert_eq!(found, [(0.032, 100.0), (0.064, 25.0), (0.07, 12.5)]);
        let coarse = longer("during migration", &times, &spread(&report(&[])));
        assert_eq!(coarse, [(0.04, 50.0), (0.07, 12.5)]);
    }
}
