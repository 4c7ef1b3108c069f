//! How fast memory was sent, and how fast it was written again.

use sterna_report::{PassKind, Poll, Report};
use sterna_units::human_bytes_per_second;

use super::{Scale, evenly, marks, scale::largest, thin};
use crate::html::{
    Detail, Table,
    figure::{Axis, Chart, Series, Shape},
    table::Cell,
};

/// The least time over which a rate is taken: polls come much more often than data in some engines.
const WINDOW_SECONDS: f64 = 0.1;

/// Wire rate, dirty rate and touch rate, and the engine's own estimates.
pub fn rates(report: &Report, detail: Detail) -> Chart {
    let mut chart = Chart::over_time("rates", "Sent against written");
    let most = detail.points_per_chart / 5;
    let polled = |value: fn(&Poll) -> Option<f64>| {
        let polls = report.timeline.iter();
        thin(polls.filter_map(|it| Some((it.t_seconds, value(it)?))).collect(), most)
    };
    let kinds = [
        ("on the wire", thin(wire_rate(report), most), 1, Shape::Backwards, false),
        (
            "dirty rate, by pass",
            by_pass(report, |it| it.dirty_rate_bytes_per_second),
            2,
            Shape::Forwards,
            false,
        ),
        (
            "touch rate, by pass",
            by_pass(report, |it| it.touch_rate_bytes_per_second),
            4,
            Shape::Forwards,
            true,
        ),
        (
            "bandwidth as the engine estimates it",
            polled(|it| it.bandwidth_bytes_per_second),
            3,
            Shape::Line,
            true,
        ),
        (
            "dirty rate as the engine estimates it",
            polled(|it| it.dirty_rate_bytes_per_second),
            6,
            Shape::Line,
            true,
        ),
    ];
    // Touch rates of a guest without a limit are a hundred times the link; the axis is for the others.
    let scale =
        Scale::bytes_per_second(largest(kinds.iter().filter(|it| it.2 != 4).map(|it| &it.1)));
    for (name, points, colour, shape, dash) in kinds {
        if !points.is_empty() {
            chart.series.push(Series {
                shape,
                unit: scale.unit.to_owned(),
                dash,
                thin: dash,
                ..Series::new(name, scale.points(points), colour)
            });
        }
    }
    chart.axes.push(Axis { title: scale.unit.to_owned(), log: true, ..Axis::default() });
    chart.marks = marks(report);
    chart.caption = "A migration converges when it sends faster than distinct pages are written. \
         The dirty rate counts each page of a pass once, the touch rate counts every write; \
         the axis is logarithmic."
        .to_owned();
    chart.table = table(report, detail);
    chart
}

/// Bytes given to the network per second, in windows of at least 100 ms that end at a poll.
pub fn wire_rate(report: &Report) -> Vec<(f64, f64)> {
    let mut polls =
        report.timeline.iter().filter_map(|it| Some((it.t_seconds, it.transferred_bytes? as f64)));
    let Some(mut begin) = polls.next() else { return Vec::new() };
    let mut points = vec![];
    for poll in polls {
        let length = poll.0 - begin.0;
        if length >= WINDOW_SECONDS {
            if points.is_empty() {
                points.push((begin.0, (poll.1 - begin.1) / length));
            }
            points.push((poll.0, (poll.1 - begin.1) / length));
            begin = poll;
        }
    }
    points
}

/// A value of each pass, from its beginning to its end.
fn by_pass(report: &Report, value: fn(&sterna_report::Pass) -> Option<f64>) -> Vec<(f64, f64)> {
    let passes = report.passes.iter().filter(|it| it.kind == PassKind::Pass);
    let mut points: Vec<(f64, f64)> = Vec::new();
    for pass in passes {
        let Some((value, length)) = value(pass).zip(pass.length_seconds) else { continue };
        // Where the pass before it ends the value changes, and no second point is needed.
        if points.last().is_some_and(|it| (it.0 - pass.started_seconds).abs() < 1e-6) {
            points.pop();
        }
        points.push((pass.started_seconds, value));
        points.push((pass.started_seconds + length, value));
    }
    points
}

fn table(report: &Report, detail: Detail) -> Table {
    let mut table = Table::new("Bytes on the wire per second", &["until, s", "on the wire"]);
    for (at, rate) in evenly(&wire_rate(report), detail.table_rows) {
        table.rows.push(vec![
            Cell::number(Some(*at), |it| format!("{it:.3}")),
            Cell::number(Some(*rate), human_bytes_per_second),
        ]);
    }
    table
}
