//! What still had to be sent, and what was.

use sterna_report::{Poll, Report};
use sterna_units::human_bytes;

use super::{Scale, evenly, marks, scale::largest, thin};
use crate::html::{
    Detail, Table,
    figure::{Axis, Chart, Series, Shape},
    table::Cell,
};

/// Remaining and transferred bytes, and the threshold below which the guest is stopped.
pub fn memory(report: &Report, detail: Detail) -> Chart {
    let mut chart = Chart::over_time("memory", "What was left to send");
    let most = detail.points_per_chart / 3;
    let points = |value: fn(&Poll) -> Option<u64>| {
        let polls = report.timeline.iter();
        let known = polls.filter_map(|it| Some((it.t_seconds, value(it)? as f64)));
        thin(known.collect(), most)
    };
    let kinds = [
        ("remaining", points(|it| it.remaining_bytes), 1, false),
        ("transferred", points(|it| it.transferred_bytes), 2, false),
        ("threshold", points(|it| it.threshold_bytes), 4, true),
    ];
    let scale = Scale::bytes(largest(kinds.iter().map(|it| &it.1)));
    for (name, points, colour, dash) in kinds {
        if !points.is_empty() {
            chart.series.push(Series {
                shape: if name == "remaining" { Shape::Area } else { Shape::Line },
                unit: scale.unit.to_owned(),
                dash,
                thin: dash,
                ..Series::new(name, scale.points(points), colour)
            });
        }
    }
    chart.axes.push(Axis { title: scale.unit.to_owned(), from_zero: true, ..Axis::default() });
    chart.marks = marks(report);
    chart.caption = "Guest memory still to be sent, and bytes given to the network. \
         When what remains is below the threshold at a synchronisation, the guest is stopped."
        .to_owned();
    chart.table = table(report, detail);
    chart
}

fn table(report: &Report, detail: Detail) -> Table {
    let mut table = Table::new(
        "What was left to send",
        &["at, s", "state", "pass", "remaining", "transferred", "threshold"],
    );
    for poll in evenly(&report.timeline, detail.table_rows) {
        let bytes = |it: Option<u64>| Cell::number(it.map(|it| it as f64), human_bytes);
        table.rows.push(vec![
            Cell::number(Some(poll.t_seconds), |it| format!("{it:.3}")),
            Cell::words(&poll.state),
            Cell::number(poll.pass.map(|it| it as f64), |it| format!("{it:.0}")),
            bytes(poll.remaining_bytes),
            bytes(poll.transferred_bytes),
            bytes(poll.threshold_bytes),
        ]);
    }
    table
}
