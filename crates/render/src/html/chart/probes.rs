//! What observers outside missed.

use sterna_report::{Direction, Report};

use super::marks;
use crate::{
    html::{
        Table,
        figure::{Axis, Chart, Series, Shape},
        table::{Cell, Tone},
    },
    number::{DASH, count, seconds},
};

/// More outages than these are counted, and not drawn.
const SHOWN_OUTAGES: usize = 1000;

/// The outages of each probe as spans of time.
pub fn probes(report: &Report) -> Chart {
    let mut chart = Chart::over_time("probes", "Seen from the network");
    chart.rows = report.probes.iter().map(|it| label(&it.kind, it.interval_seconds)).collect();
    let mut left = SHOWN_OUTAGES;
    for (row, probe) in report.probes.iter().enumerate() {
        let outages = &probe.outages[..probe.outages.len().min(left)];
        left -= outages.len();
        let mut series = Series::new(&chart.rows[row], Vec::new(), 1 + (row % 7) as u8);
        series.shape = Shape::Spans;
        series.unit = "silent".to_owned();
        for outage in outages {
            series.points.push((outage.start_seconds, row as f64));
            series.until.push(outage.start_seconds + outage.length_seconds);
        }
        chart.series.push(series);
    }
    chart.axes.push(Axis::default());
    chart.marks = marks(report);
    chart.height = 120 + 36 * report.probes.len().min(20) as u32;
    chart.half = report.probes.len() <= 4;
    chart.caption = caption(report);
    chart.table = table(report);
    chart
}

fn label(kind: &str, interval_seconds: Option<f64>) -> String {
    match interval_seconds {
        Some(interval) => format!("{kind} every {}", seconds(interval)),
        None => kind.to_owned(),
    }
}

fn caption(report: &Report) -> String {
    let longest = report
        .probes
        .iter()
        .flat_map(|it| &it.outages)
        .max_by(|a, b| a.length_seconds.total_cmp(&b.length_seconds));
    match longest {
        Some(it) => {
            format!("Times without an answer; the longest took {}.", seconds(it.length_seconds))
        }
        None if report.probes.iter().all(|it| it.unseen_seconds().is_some()) => {
            "Every message was answered in time.".to_owned()
        }
        None => "Whether there were outages is unknown.".to_owned(),
    }
}

fn table(report: &Report) -> Table {
    let mut table = Table::new(
        "Outages seen by probes",
        &["probe", "from, s", "length", "ended", "lost", "on the way"],
    );
    for probe in &report.probes {
        let name = label(&probe.kind, probe.interval_seconds);
        if probe.outages.is_empty() {
            let received =
                probe.received.map_or(DASH.to_owned(), |it| count(it, "answer", "answers"));
            table.rows.push(vec![
                Cell::words(match probe.unseen_seconds() {
                    Some(_) => format!("{name}: no outage, {received}"),
                    None => format!("{name}: outages unknown, {received}"),
                }),
                Cell::number(None, |_| String::new()),
                Cell::number(None, |_| String::new()),
                Cell::words(DASH),
                Cell::number(None, |_| String::new()),
                Cell::words(DASH),
            ]);
        }
        for outage in probe.outages.iter().take(200) {
            let ended = Cell::words(if outage.has_ended { "yes" } else { "no" });
            table.rows.push(vec![
                Cell::words(&name),
                Cell::number(Some(outage.start_seconds), |it| format!("{it:.3}")),
                Cell::number(Some(outage.length_seconds), seconds),
                if outage.has_ended { ended } else { ended.toned(Tone::Bad) },
                Cell::number(outage.lost.map(|it| it as f64), |it| format!("{it:.0}")),
                Cell::words(way(outage.direction)),
            ]);
        }
    }
    table
}

fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::ToGuest => "to the guest",
        Direction::FromGuest => "from the guest",
        Direction::RoundTrip => "there or back",
        Direction::Both => "both ways",
    }
}
