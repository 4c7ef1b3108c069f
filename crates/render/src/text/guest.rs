//! What the guest felt.

use sterna_report::{BlackoutPhase, Latency, Probe, Report, Side, Summary};
use sterna_units::human_bytes_per_second;

use crate::{
    number::{UNKNOWN, nanoseconds, or_unknown, percent, seconds, three_digits},
    page::Page,
    table::{Column, Table},
};

/// Throughput, blackout, lost work and write latency.
pub fn section(report: &Report, page: &mut Page) {
    let summary = &report.summary;
    page.heading("Guest");
    let rate = |pages: Option<f64>, bytes: Option<f64>| match (pages, bytes) {
        (Some(pages), Some(bytes)) => {
            format!("{} pages/s, {}", three_digits(pages), human_bytes_per_second(bytes))
        }
        (Some(pages), None) => format!("{} pages/s", three_digits(pages)),
        _ => UNKNOWN.to_owned(),
    };
    page.row(
        "baseline",
        &rate(summary.baseline_pages_per_second, summary.baseline_bytes_per_second),
    );
    let during = rate(summary.touch_rate_pages_per_second, summary.touch_rate_bytes_per_second);
    page.row("during", &format!("{during}{}", dip(report)));
    page.row("blackout", &blackout(report));
    if let Some(lag) = clock_lag(report) {
        page.row("guest clock", &lag);
    }
    for probe in &report.probes {
        let (name, messages) =
            if probe.is_of_network() { ("network", "messages") } else { ("disk", "records") };
        page.row(name, &outages(probe, messages));
    }
    page.row("lost work", &lost_work(report));
    page.row("back after", &back_after(report));
    latency(report, page);
}

pub fn side_word(side: Side) -> &'static str {
    match side {
        Side::Source => "source",
        Side::Destination => "destination",
    }
}

/// The difference to the baseline, which stands in the line above.
fn dip(report: &Report) -> String {
    let baseline = report.summary.baseline_pages_per_second.filter(|&baseline| baseline > 0.0);
    match baseline.zip(report.summary.touch_rate_pages_per_second) {
        Some((baseline, during)) if during > baseline => {
            format!(" ({} above the baseline)", percent(100.0 * (during / baseline - 1.0)))
        }
        Some((baseline, during)) => {
            format!(" ({} below the baseline)", percent(100.0 * (1.0 - during / baseline)))
        }
        None => String::new(),
    }
}

fn blackout(report: &Report) -> String {
    let summary = &report.summary;
    match (summary.blackout_seconds, summary.blackout_resolution_seconds) {
        (Some(0.0), Some(resolution)) => format!("none longer than {}", seconds(resolution)),
        (Some(blackout), Some(resolution)) => {
            format!(
                "{}{} (gaps from {} on are seen)",
                seconds(blackout),
                where_it_lay(summary),
                seconds(resolution)
            )
        }
        (blackout, _) => or_unknown(blackout, seconds),
    }
}

/// `, in the setup; 115 ms around the switchover`.
fn where_it_lay(summary: &Summary) -> String {
    let Some(phase) = summary.blackout_phase else { return String::new() };
    let words = blackout_phase(phase);
    let switchover = summary.blackout_at_switchover_seconds;
    match switchover.filter(|_| phase != BlackoutPhase::Switchover) {
        Some(length) => format!(", {words}; {} around the switchover", seconds(length)),
        None => format!(", {words}"),
    }
}

/// When a blackout was, as the end of a sentence.
pub fn blackout_phase(phase: BlackoutPhase) -> &'static str {
    match phase {
        BlackoutPhase::Setup => "in the setup",
        BlackoutPhase::Passes => "while memory was sent",
        BlackoutPhase::Switchover => "around the switchover",
        BlackoutPhase::Postcopy => "in post-copy",
        BlackoutPhase::CoolDown => "in the cool-down",
    }
}

/// How far the clock of the guest fell behind in the switchover, where the engine knows.
fn clock_lag(report: &Report) -> Option<String> {
    let detail = |name: &str| report.engine.details.get(name)?.as_f64();
    let lag = detail("guest_clock_standstill_seconds")?;
    let uncertainty = detail("guest_clock_standstill_uncertainty_seconds")
        .map(|it| format!(" ± {}", seconds(it)))
        .unwrap_or_default();
    Some(format!("{}{uncertainty} behind since the switchover", seconds(lag)))
}

fn outages(probe: &Probe, messages: &str) -> String {
    let after_start = probe.outages.iter().filter(|it| it.start_seconds + it.length_seconds > 0.0);
    let longest = after_start.map(|it| it.length_seconds).max_by(f64::total_cmp);
    let longest = match (longest, probe.unseen_seconds()) {
        (Some(it), _) => format!("longest outage {}", seconds(it)),
        (None, Some(resolution)) => format!("no outage longer than {}", seconds(resolution)),
        (None, None) => "outages unknown".to_owned(),
    };
    let lost = match (probe.sent, probe.received) {
        (Some(sent), Some(received)) => {
            format!(", {} of {sent} {messages} lost", sent.saturating_sub(received))
        }
        _ => String::new(),
    };
    let every =
        probe.interval_seconds.map(|it| format!(" every {}", seconds(it))).unwrap_or_default();
    format!("{longest}{lost} ({}{every})", probe.kind)
}

fn lost_work(report: &Report) -> String {
    let summary = &report.summary;
    let at_least = if summary.lost_work_lower_bound == Some(true) { "at least " } else { "" };
    or_unknown(summary.lost_work_seconds, |lost| {
        format!("{at_least}{} of guest time", seconds(lost))
    })
}

fn back_after(report: &Report) -> String {
    let resumption = &report.summary.resumption;
    if (resumption.first_sample_seconds, resumption.at_95_percent_seconds) == (None, None) {
        return UNKNOWN.to_owned();
    }
    let first = or_unknown(resumption.first_sample_seconds, seconds);
    let back = or_unknown(resumption.at_95_percent_seconds, seconds);
    format!("{first} until the first sample, {back} until 95 % of the baseline")
}

fn latency(report: &Report, page: &mut Page) {
    let latency = &report.summary.write_latency;
    if latency.baseline.is_none() && latency.during.is_none() {
        return page.row("write latency", UNKNOWN);
    }
    let mut table = Table::new(vec![
        Column::word("write latency"),
        Column::number("p50", 0),
        Column::number("p99", 0),
        Column::number("p99.9", 0),
        Column::number("max", 0),
    ]);
    table.row(latency_row("  baseline", latency.baseline));
    table.row(latency_row("  during", latency.during));
    let since_due = [latency.baseline_since_due, latency.during_since_due];
    if since_due.iter().any(Option::is_some) {
        table.row(latency_row("  baseline, since due", since_due[0]));
        table.row(latency_row("  during, since due", since_due[1]));
    }
    page.table(&table);
}

fn latency_row(name: &str, latency: Option<Latency>) -> Vec<String> {
    let times = latency.map(|l| [l.p50_ns, l.p99_ns, l.p999_ns, l.max_ns].map(nanoseconds));
    std::iter::once(name.to_owned()).chain(times.into_iter().flatten()).collect()
}
