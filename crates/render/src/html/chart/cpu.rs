//! What the machines paid.

use std::collections::BTreeSet;

use sterna_report::{CpuSample, Report, Side};

use super::{evenly, marks, thin};
use crate::html::{
    Detail, Table,
    figure::{Axis, Chart, Series, Shape},
    table::Cell,
};

/// The least time over which a share of processors is taken; clocks of threads tick in milliseconds.
const WINDOW_SECONDS: f64 = 0.2;

/// Busy processors by class of threads, on one side.
pub fn cpu(report: &Report, side: Side, detail: Detail) -> Chart {
    let word = crate::text::side_word(side);
    let mut chart = Chart::over_time(&format!("cpu-{word}"), &format!("Processors of the {word}"));
    let classes: BTreeSet<&String> = report.cpu.iter().flat_map(|it| it.classes.keys()).collect();
    let most = detail.points_per_chart / (2 * classes.len().max(1));
    for (index, class) in classes.iter().enumerate() {
        let points = thin(cores(report, side, class), most);
        if !points.is_empty() {
            chart.series.push(Series {
                shape: Shape::Backwards,
                unit: "cores".to_owned(),
                ..Series::new(class.as_str(), points, 1 + (index % 7) as u8)
            });
        }
    }
    chart.axes.push(Axis { title: "cores busy".to_owned(), from_zero: true, ..Axis::default() });
    chart.marks = marks(report);
    chart.height = 260;
    chart.half = true;
    chart.caption =
        format!("Processor time of the {word}'s process by class of threads, as busy cores.");
    chart.table = table(report, side, &classes, detail);
    chart
}

fn samples(report: &Report, side: Side) -> impl Iterator<Item = &CpuSample> {
    report.cpu.iter().filter(move |it| it.side == side)
}

/// Busy cores in windows that end at a sample.
fn cores(report: &Report, side: Side, class: &str) -> Vec<(f64, f64)> {
    let mut known =
        samples(report, side).filter_map(|it| Some((it.t_seconds, *it.classes.get(class)?)));
    let Some(mut begin) = known.next() else { return Vec::new() };
    let mut points = Vec::new();
    for sample in known {
        let length = sample.0 - begin.0;
        if length >= WINDOW_SECONDS {
            // A process that was started anew counts from 0 again.
            let busy = if sample.1 >= begin.1 { (sample.1 - begin.1) / length } else { f64::NAN };
            if points.is_empty() {
                points.push((begin.0, busy));
            }
            points.push((sample.0, busy));
            begin = sample;
        }
    }
    points
}

fn table(report: &Report, side: Side, classes: &BTreeSet<&String>, detail: Detail) -> Table {
    let word = crate::text::side_word(side);
    let mut columns = vec!["until, s".to_owned()];
    columns.extend(classes.iter().map(|it| format!("{it}, cores")));
    let mut table = Table { columns, ..Table::new(format!("Processors of the {word}"), &[]) };
    let series: Vec<Vec<(f64, f64)>> =
        classes.iter().map(|class| cores(report, side, class)).collect();
    let Some(times) = series.iter().max_by_key(|it| it.len()) else { return table };
    for (at, _) in evenly(times, detail.table_rows) {
        let mut row = vec![Cell::number(Some(*at), |it| format!("{it:.3}"))];
        for points in &series {
            let here = points.iter().rfind(|it| it.0 == *at && it.1.is_finite());
            row.push(Cell::number(here.map(|it| it.1), |it| format!("{it:.2}")));
        }
        table.rows.push(row);
    }
    table
}
