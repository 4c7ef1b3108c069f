//! What the guest got done.

use sterna_report::{GuestSample, Report};

use super::{Scale, evenly, marks, scale::largest, thin};
use crate::{
    html::{
        Detail, Table,
        figure::{Axis, Chart, Series, Shape},
        table::Cell,
    },
    number::seconds,
};

/// More workers than these are shown by their sum alone.
const SHOWN_WORKERS: usize = 16;

/// Throughput of each worker and of all, beside the baseline, with the throttle.
pub fn guest(report: &Report, detail: Detail) -> Chart {
    let mut chart = Chart::over_time("guest", "What the guest got done");
    let workers = report.guest.iter().map(|it| it.counts_per_worker.len()).max().unwrap_or(0);
    let shown = if (2..=SHOWN_WORKERS).contains(&workers) { workers } else { 0 };
    let most = detail.points_per_chart / (shown + 2);
    let total = thin(guest_total(report), most);
    let baseline = report.summary.baseline_pages_per_second;
    let scale = Scale::pages_per_second(largest([&total]).max(baseline.unwrap_or(0.0)));
    let line = |name: String, points, colour, thin| Series {
        shape: Shape::Backwards,
        unit: scale.unit.to_owned(),
        thin,
        ..Series::new(name, scale.points(points), colour)
    };
    chart.series.push(line("all workers".to_owned(), total, 1, false));
    for worker in 0..shown {
        let points = thin(worker_rates(&report.guest, worker), most);
        let colour = 2 + (worker % 6) as u8;
        chart.series.push(line(format!("worker {worker}"), points, colour, true));
    }
    if let Some((baseline, (from, to))) = baseline.zip(span(report)) {
        let points = vec![(from, baseline), (to, baseline)];
        let baseline = Series {
            shape: Shape::Line,
            dash: true,
            ..line("baseline".to_owned(), points, 0, true)
        };
        chart.series.push(baseline);
    }
    chart.axes.push(Axis { title: scale.unit.to_owned(), from_zero: true, ..Axis::default() });
    throttle(report, most, &mut chart);
    chart.marks = marks(report);
    chart.caption = caption(report, workers, shown);
    chart.table = table(report, detail);
    chart
}

/// Page writes of all workers per second, broken where the guest stood.
pub fn guest_total(report: &Report) -> Vec<(f64, f64)> {
    with_breaks(&report.guest, |it| it.writes_per_second)
}

fn worker_rates(samples: &[GuestSample], worker: usize) -> Vec<(f64, f64)> {
    with_breaks(samples, |it| {
        let count = it.counts_per_worker.get(worker).map_or(f64::NAN, |it| *it as f64);
        count / it.interval_seconds
    })
}

/// Each sample at its end, and a point without a value wherever no sample covers the time.
fn with_breaks(samples: &[GuestSample], value: impl Fn(&GuestSample) -> f64) -> Vec<(f64, f64)> {
    let mut points = Vec::with_capacity(samples.len() + 4);
    let mut covered = f64::NEG_INFINITY;
    for sample in samples {
        let begin = sample.t_seconds - sample.interval_seconds;
        let value = value(sample);
        if begin > covered + 1e-6 {
            points.push((begin, f64::NAN));
            points.push((begin, value));
        }
        points.push((sample.t_seconds, value));
        covered = covered.max(sample.t_seconds);
    }
    points
}

fn span(report: &Report) -> Option<(f64, f64)> {
    let (first, last) = (report.guest.first()?, report.guest.last()?);
    Some((first.t_seconds - first.interval_seconds, last.t_seconds))
}

/// How much of their time the engine held the guest's processors back, on an axis of its own.
fn throttle(report: &Report, most: usize, chart: &mut Chart) {
    let polls = report.timeline.iter();
    let points: Vec<(f64, f64)> =
        polls.filter_map(|it| Some((it.t_seconds, it.throttle_percent?))).collect();
    if !points.iter().any(|it| it.1 > 0.0) {
        return;
    }
    chart.axes.push(Axis {
        title: "throttle, %".to_owned(),
        from_zero: true,
        to: Some(100.0),
        ..Axis::default()
    });
    chart.series.push(Series {
        shape: Shape::Forwards,
        axis: 1,
        unit: "% of the time held back".to_owned(),
        dash: true,
        ..Series::new("throttle", thin(points, most), 5)
    });
}

fn caption(report: &Report, workers: usize, shown: usize) -> String {
    let mut words = "Page writes per second, seen from inside the guest.".to_owned();
    if workers > shown && shown == 0 && workers > 1 {
        words.push_str(&format!(" All {workers} workers together."));
    }
    if let Some(lost) = report.summary.lost_work_seconds {
        let at_least =
            if report.summary.lost_work_lower_bound == Some(true) { "at least " } else { "" };
        words.push_str(&format!(
            " What is missing below the baseline is lost work: {at_least}{} of guest time.",
            seconds(lost)
        ));
    }
    words
}

fn table(report: &Report, detail: Detail) -> Table {
    let mut table = Table::new(
        "What the guest got done",
        &["until, s", "side", "interval, s", "pages/s", "throttle, %"],
    );
    let mut polls = report.timeline.iter().peekable();
    let mut throttle = None;
    for sample in evenly(&report.guest, detail.table_rows) {
        while let Some(poll) = polls.next_if(|it| it.t_seconds <= sample.t_seconds) {
            throttle = poll.throttle_percent;
        }
        table.rows.push(vec![
            Cell::number(Some(sample.t_seconds), |it| format!("{it:.3}")),
            Cell::words(crate::text::side_word(sample.side)),
            Cell::number(Some(sample.interval_seconds), |it| format!("{it:.3}")),
            Cell::number(Some(sample.writes_per_second), |it| format!("{it:.0}")),
            Cell::number(throttle, |it| format!("{it:.0}")),
        ]);
    }
    table
}
