//! Several guests over one link.

use std::collections::BTreeMap;

use sterna_report::{Fleet, FleetGuest, Report, Spread, Verdict};
use sterna_units::human_bits_per_second;

use super::headline::{doubt, memory_words};
use crate::{
    number::{DASH, count, or_dash, or_unknown, seconds},
    page::Page,
    table::{Column, Table},
    thresholds,
};

/// The result in one line without a newline: endings, memory, total time of all, the worst downtime.
pub fn one_line(report: &Report, fleet: &Fleet) -> String {
    let all = fleet.guests.len();
    let mut by_verdict: BTreeMap<Verdict, usize> = BTreeMap::new();
    for guest in &fleet.guests {
        *by_verdict.entry(guest.summary.verdict).or_default() += 1;
    }
    let endings: Vec<String> =
        by_verdict.iter().map(|(verdict, guests)| format!("{guests} {verdict}")).collect();
    let summary = &report.summary;
    format!(
        "Fleet of {all} guests, {}: {}, total time of all {}, worst downtime {}{}{}{}",
        endings.join(", "),
        memory_words(summary),
        or_unknown(summary.total_time_seconds, seconds),
        or_unknown(summary.downtime_seconds, seconds),
        crate::downtime::over_limit(summary),
        doubt(report),
        thresholds::suffix(report),
    )
}

/// The whole, and one row for each guest.
pub fn section(fleet: &Fleet, page: &mut Page) {
    page.heading("Fleet");
    page.row("guests", &guests(fleet));
    page.row("total of all", &or_unknown(fleet.total_time_seconds, seconds));
    page.row(
        "bandwidth",
        &or_unknown(fleet.bandwidth_mean_bytes_per_second, human_bits_per_second),
    );
    for (label, spread) in [
        ("total", fleet.guest_total_time_seconds),
        ("downtime", fleet.downtime_seconds),
        ("blackout", fleet.blackout_seconds),
        ("lost work", fleet.lost_work_seconds),
    ] {
        page.row(label, &words(spread, fleet.guests.len() as u64));
    }
    page.heading("Guests");
    let mut table = Table::new(vec![
        Column::word("guest"),
        Column::word("verdict"),
        Column::word("memory"),
        Column::number("start", 1),
        Column::number("total", 0),
        Column::number("downtime", 0),
        Column::number("blackout", 0),
        Column::number("lost work", 0),
        Column::number("passes", 2),
    ]);
    for guest in &fleet.guests {
        table.row(row(guest));
    }
    page.table(&table);
}

fn guests(fleet: &Fleet) -> String {
    let all = fleet.guests.len() as u64;
    let order = match fleet.parallel {
        1 => "one after the other".to_owned(),
        parallel if parallel >= all => "all at the same time".to_owned(),
        parallel => format!("{parallel} at the same time"),
    };
    format!("{}, {order}", count(all, "guest", "guests"))
}

fn words(spread: Spread, all: u64) -> String {
    let Some((median, worst)) = spread.median.zip(spread.worst) else {
        return or_unknown(None, seconds);
    };
    let known = match spread.known < all {
        true => format!(" (known of {} of them)", spread.known),
        false => String::new(),
    };
    format!("median {}, worst {}{known}", seconds(median), seconds(worst))
}

fn row(guest: &FleetGuest) -> Vec<String> {
    let summary = &guest.summary;
    let loss = summary.lost_work_seconds.map(|it| {
        let bound = if summary.lost_work_lower_bound == Some(true) { "≥ " } else { "" };
        format!("{bound}{}", seconds(it))
    });
    vec![
        guest.guest.to_string(),
        summary.verdict.to_string(),
        summary.integrity.as_str().to_owned(),
        or_dash(guest.started_seconds, seconds),
        or_dash(summary.total_time_seconds, seconds),
        format!(
            "{}{}",
            or_dash(summary.downtime_seconds, seconds),
            if summary.downtime_over_limit().is_some() { " > limit" } else { "" }
        ),
        or_dash(summary.blackout_seconds, seconds),
        loss.unwrap_or_else(|| DASH.to_owned()),
        summary.passes.to_string(),
    ]
}
