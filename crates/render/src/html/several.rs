//! Charts on which runs lie over each other, each run in its colour or each side of a comparison in its own.

use sterna_report::Report;

use super::{
    Detail,
    chart::{Scale, guest_total, thin, wire_rate},
    figure::{Axis, Chart, Series, Shape},
    table::{Cell, Table},
};

/// Runs that are drawn as one series.
pub struct Drawn<'a> {
    /// The name of the series.
    pub name: String,
    /// One report, or several whose lines have one colour.
    pub reports: Vec<&'a Report>,
}

/// The charts that have something to show. What stands before their ids and behind their titles
/// keeps them apart from others on the page.
pub fn charts(
    drawn: &[Drawn<'_>],
    detail: Detail,
    before_id: &str,
    after_title: &str,
) -> Vec<Chart> {
    let made = KINDS.iter().map(|kind| Chart {
        id: format!("{before_id}{}", kind.id),
        group: before_id.to_owned(),
        ..chart(kind, drawn, detail, &format!("{}{after_title}", kind.title))
    });
    made.filter(|chart| !chart.is_empty()).collect()
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

fn chart(kind: &Kind, drawn: &[Drawn<'_>], detail: Detail, title: &str) -> Chart {
    let runs: usize = drawn.iter().map(|it| it.reports.len()).sum();
    let most = (detail.points_per_chart / runs.max(1)).max(50);
    let mut lines: Vec<Vec<Line>> = drawn.iter().map(|it| lines(kind, it, most)).collect();
    if kind.id == "throttle" && !lines.iter().flatten().flatten().any(|it| it.1 > 0.0) {
        lines.iter_mut().for_each(Vec::clear);
    }
    let scale = match kind.id {
        "guest" => share_of_baseline(drawn, &mut lines),
        _ => None,
    };
    let values = lines.iter().flatten().flatten().map(|it| it.1).filter(|it| it.is_finite());
    let scale = scale.unwrap_or((kind.scale)(values.fold(0.0, f64::max)));
    let mut chart = Chart::over_time(kind.id, title);
    chart.caption = kind.caption.to_owned();
    chart.axes.push(Axis { title: scale.unit.to_owned(), from_zero: true, ..Axis::default() });
    for (index, (drawn, lines)) in drawn.iter().zip(lines).enumerate() {
        let points = joined(lines);
        if !points.is_empty() {
            chart.series.push(Series {
                shape: kind.shape,
                unit: scale.unit.to_owned(),
                dash: index >= 8,
                thin: drawn.reports.len() > 1,
                ..Series::new(&drawn.name, scale.points(points), 1 + (index % 8) as u8)
            });
        }
    }
    chart.table = extremes(&chart);
    chart
}

/// The points of one run.
type Line = Vec<(f64, f64)>;

fn lines(kind: &Kind, drawn: &Drawn<'_>, most: usize) -> Vec<Line> {
    drawn.reports.iter().map(|it| thin((kind.points)(it), most)).collect()
}

/// One series of many lines: between two of them it is broken.
fn joined(lines: Vec<Line>) -> Line {
    let mut points = Line::new();
    for line in lines.into_iter().filter(|it| !it.is_empty()) {
        if !points.is_empty() {
            points.push((f64::NAN, f64::NAN));
        }
        points.extend(line);
    }
    points
}

/// Guests of different speed are compared with themselves, where each has a baseline.
fn share_of_baseline(drawn: &[Drawn<'_>], lines: &mut [Vec<Line>]) -> Option<Scale> {
    let reports = drawn.iter().flat_map(|it| &it.reports);
    let baselines: Option<Vec<f64>> = reports
        .map(|report| report.summary.baseline_pages_per_second.filter(|it| *it > 0.0))
        .collect();
    for (points, baseline) in lines.iter_mut().flatten().zip(baselines?) {
        points.iter_mut().for_each(|it| it.1 *= 100.0 / baseline);
    }
    Some(Scale { divisor: 1.0, unit: "% of the baseline" })
}

/// The text equivalent: where each series begins and ends, and its lowest and highest value.
fn extremes(chart: &Chart) -> Table {
    let unit = chart.axes.first().map_or("", |it| it.title.as_str());
    let heading = |word: &str| format!("{word}, {unit}");
    let mut table = Table::new(&chart.title, &["run", "from, s", "to, s"]);
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
