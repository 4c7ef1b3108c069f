//! A guest that moved several times.

use sterna_report::{Hop, Report};
use sterna_units::Bytes;

use super::headline::{doubt, memory_words};
use crate::{
    number::{or_dash, or_unknown, seconds},
    page::Page,
    table::{Column, Table},
    thresholds,
};

/// The result in one line without a newline: how many hops, memory, total time of all, the longest downtime.
pub fn one_line(report: &Report) -> String {
    let summary = &report.summary;
    let asked = super::setting(report, "migration", "hops");
    let asked = asked.unwrap_or_else(|| report.hops.len().to_string());
    format!(
        "{} of {asked} hops, the last {}: {}, total time of all {}, longest downtime {}{}{}{}",
        report.hops.len(),
        summary.verdict,
        memory_words(summary),
        or_unknown(summary.total_time_seconds, seconds),
        or_unknown(summary.downtime_seconds, seconds),
        crate::downtime::over_limit(summary),
        doubt(report),
        thresholds::suffix(report),
    )
}

/// One row for each hop.
pub fn section(report: &Report, page: &mut Page) {
    page.heading("Hops");
    let mut table = Table::new(vec![
        Column::word("hop"),
        Column::word("way"),
        Column::word("verdict"),
        Column::word("memory"),
        Column::number("start", 1),
        Column::number("total", 0),
        Column::number("downtime", 0),
        Column::number("blackout", 0),
        Column::number("lost work", 0),
        Column::number("passes", 2),
        Column::number("on the wire", 0),
    ]);
    for hop in &report.hops {
        table.row(row(hop));
    }
    page.table(&table);
    page.note("Each hop is a whole report in the JSON, as .hops[0].report; `sterna report html` draws them on one page.");
}

fn row(hop: &Hop) -> Vec<String> {
    let summary = &hop.report.summary;
    vec![
        hop.hop.to_string(),
        if hop.hop % 2 == 1 { "there" } else { "back" }.to_owned(),
        summary.verdict.to_string(),
        summary.integrity.as_str().to_owned(),
        or_dash(hop.started_seconds, seconds),
        or_dash(summary.total_time_seconds, seconds),
        format!(
            "{}{}",
            or_dash(summary.downtime_seconds, seconds),
            if summary.downtime_over_limit().is_some() { " > limit" } else { "" }
        ),
        or_dash(summary.blackout_seconds, seconds),
        or_dash(summary.lost_work_seconds, seconds),
        summary.passes.to_string(),
        or_dash(summary.wire_bytes, |it| Bytes(it).human()),
    ]
}
