//! Reports as comma-separated values: one row for each run, or for each line of one of its series.
//!
//! Columns carry the names of the report's fields, and so their definitions and units. What is not
//! known is an empty field. A text that a spreadsheet would run as a formula gets a `'` before it.

use std::fmt::Write as _;

use sterna_report::{Latency, Probe, Report, Side};

use crate::html::Named;

/// What the rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CsvTable {
    /// One row for each run, with its headline numbers.
    Summary,
    /// One row for each pass.
    Passes,
    /// One row for each answer to a status poll.
    Timeline,
    /// One row for each sample of the guest's progress.
    Guest,
    /// One row for each class of threads in each sample of CPU time.
    Cpu,
    /// One row for each event.
    Events,
    /// One row for each outage of each probe.
    Outages,
}

impl CsvTable {
    /// All of them.
    pub const ALL: [CsvTable; 7] = [
        CsvTable::Summary,
        CsvTable::Passes,
        CsvTable::Timeline,
        CsvTable::Guest,
        CsvTable::Cpu,
        CsvTable::Events,
        CsvTable::Outages,
    ];

    /// Its name on the command line and in the names of files.
    pub fn as_str(self) -> &'static str {
        match self {
            CsvTable::Summary => "summary",
            CsvTable::Passes => "passes",
            CsvTable::Timeline => "timeline",
            CsvTable::Guest => "guest",
            CsvTable::Cpu => "cpu",
            CsvTable::Events => "events",
            CsvTable::Outages => "outages",
        }
    }

    /// The names of its columns; the first is the run's name in all of them.
    pub fn columns(self) -> Vec<&'static str> {
        let own: &[&str] = match self {
            CsvTable::Summary => return SUMMARY.iter().map(|it| it.0).collect(),
            CsvTable::Passes => &[
                "number",
                "kind",
                "started_seconds",
                "length_seconds",
                "sync_seconds",
                "dirty_pages_at_sync",
                "pages_sent",
                "zero_pages",
                "pages_resent",
                "wire_bytes",
                "bandwidth_bytes_per_second",
                "remaining_bytes_at_end",
                "dirty_rate_bytes_per_second",
                "touch_rate_bytes_per_second",
                "guest_dip_percent",
            ],
            CsvTable::Timeline => &[
                "t_seconds",
                "state",
                "pass",
                "remaining_bytes",
                "transferred_bytes",
                "bandwidth_bytes_per_second",
                "dirty_rate_bytes_per_second",
                "threshold_bytes",
                "expected_downtime_seconds",
                "throttle_percent",
            ],
            CsvTable::Guest => &[
                "t_seconds",
                "side",
                "interval_seconds",
                "writes_per_second",
                "counts_per_worker",
                "latency_samples",
                "latency_p50_ns",
                "latency_p99_ns",
                "latency_p999_ns",
                "latency_max_ns",
            ],
            CsvTable::Cpu => &["t_seconds", "side", "class", "cpu_seconds", "resident_bytes"],
            CsvTable::Events => &["t_seconds", "side", "kind", "text"],
            CsvTable::Outages => &[
                "probe",
                "interval_seconds",
                "start_seconds",
                "length_seconds",
                "has_ended",
                "lost",
                "direction",
                "resolution_seconds",
            ],
        };
        std::iter::once("run").chain(own.iter().copied()).collect()
    }
}

/// The first line: the names of the columns.
pub fn csv_header(table: CsvTable) -> String {
    format!("{}\r\n", table.columns().join(","))
}

/// The lines of one run.
pub fn csv_rows(table: CsvTable, run: Named<'_>) -> String {
    let mut out = String::new();
    let report = run.report;
    match table {
        CsvTable::Summary => line(&mut out, SUMMARY.iter().map(|it| (it.1)(run))),
        CsvTable::Passes => passes(&mut out, run),
        CsvTable::Timeline => timeline(&mut out, run),
        CsvTable::Guest => guest(&mut out, run),
        CsvTable::Cpu => cpu(&mut out, run),
        CsvTable::Events => {
            for it in &report.events {
                let side = word(&it.side);
                let fields = [number(it.t_seconds), side, text(&it.kind), text(&it.text)];
                line(&mut out, named(run, fields));
            }
        }
        CsvTable::Outages => outages(&mut out, run),
    }
    out
}

/// A column of the summary: its name, and its field for a run.
type Column = (&'static str, fn(Named<'_>) -> String);

const SUMMARY: &[Column] = &[
    ("run", |it| text(it.name)),
    ("scenario", |it| text(&crate::html::title(it.report))),
    ("started_at", |it| text(&it.report.started_at)),
    ("tool_version", |it| text(&it.report.tool.version)),
    ("hostname", |it| text(it.report.host.hostname.as_deref().unwrap_or_default())),
    ("engine", |it| text(&it.report.engine.name)),
    ("verdict", |it| it.report.summary.verdict.as_str().to_owned()),
    ("verdict_reason", |it| text(it.report.summary.verdict_reason.as_deref().unwrap_or_default())),
    ("integrity", |it| it.report.summary.integrity.as_str().to_owned()),
    ("total_time_seconds", |it| maybe(it.report.summary.total_time_seconds)),
    ("setup_seconds", |it| maybe(it.report.summary.setup_seconds)),
    ("downtime_seconds", |it| maybe(it.report.summary.downtime_seconds)),
    ("downtime_uncertainty_seconds", |it| maybe(it.report.summary.downtime_uncertainty_seconds)),
    ("downtime_claimed_seconds", |it| maybe(it.report.summary.downtime_claimed_seconds)),
    ("final_sync_seconds", |it| maybe(it.report.summary.final_sync_seconds)),
    ("final_transfer_seconds", |it| maybe(it.report.summary.final_transfer_seconds)),
    ("resume_seconds", |it| maybe(it.report.summary.resume_seconds)),
    ("blackout_seconds", |it| maybe(it.report.summary.blackout_seconds)),
    ("blackout_resolution_seconds", |it| maybe(it.report.summary.blackout_resolution_seconds)),
    ("convergence_pass", |it| whole(it.report.summary.convergence_pass)),
    ("convergence_seconds", |it| maybe(it.report.summary.convergence_seconds)),
    ("first_sample_seconds", |it| maybe(it.report.summary.resumption.first_sample_seconds)),
    ("at_95_percent_seconds", |it| maybe(it.report.summary.resumption.at_95_percent_seconds)),
    ("lost_work_seconds", |it| maybe(it.report.summary.lost_work_seconds)),
    ("lost_work_lower_bound", |it| flag(it.report.summary.lost_work_lower_bound)),
    ("baseline_pages_per_second", |it| maybe(it.report.summary.baseline_pages_per_second)),
    ("touch_rate_bytes_per_second", |it| maybe(it.report.summary.touch_rate_bytes_per_second)),
    ("dirty_rate_bytes_per_second", |it| maybe(it.report.summary.dirty_rate_bytes_per_second)),
    ("passes", |it| it.report.summary.passes.to_string()),
    ("pages_sent", |it| whole(it.report.summary.pages_sent)),
    ("zero_pages", |it| whole(it.report.summary.zero_pages)),
    ("pages_resent", |it| whole(it.report.summary.pages_resent)),
    ("wire_bytes", |it| whole(it.report.summary.wire_bytes)),
    ("amplification", |it| maybe(it.report.summary.amplification)),
    ("bandwidth_min_bytes_per_second", |it| {
        maybe(it.report.summary.bandwidth_min_bytes_per_second)
    }),
    ("bandwidth_mean_bytes_per_second", |it| {
        maybe(it.report.summary.bandwidth_mean_bytes_per_second)
    }),
    ("bandwidth_max_bytes_per_second", |it| {
        maybe(it.report.summary.bandwidth_max_bytes_per_second)
    }),
    ("latency_baseline_p50_ns", |it| {
        level(it.report.summary.write_latency.baseline, |it| it.p50_ns)
    }),
    ("latency_baseline_p999_ns", |it| {
        level(it.report.summary.write_latency.baseline, |it| it.p999_ns)
    }),
    ("latency_baseline_max_ns", |it| {
        level(it.report.summary.write_latency.baseline, |it| it.max_ns)
    }),
    ("latency_during_p50_ns", |it| level(it.report.summary.write_latency.during, |it| it.p50_ns)),
    ("latency_during_p999_ns", |it| level(it.report.summary.write_latency.during, |it| it.p999_ns)),
    ("latency_during_max_ns", |it| level(it.report.summary.write_latency.during, |it| it.max_ns)),
    ("since_due_baseline_p50_ns", |it| {
        level(it.report.summary.write_latency.baseline_since_due, |it| it.p50_ns)
    }),
    ("since_due_baseline_p999_ns", |it| {
        level(it.report.summary.write_latency.baseline_since_due, |it| it.p999_ns)
    }),
    ("since_due_baseline_max_ns", |it| {
        level(it.report.summary.write_latency.baseline_since_due, |it| it.max_ns)
    }),
    ("since_due_during_p50_ns", |it| {
        level(it.report.summary.write_latency.during_since_due, |it| it.p50_ns)
    }),
    ("since_due_during_p999_ns", |it| {
        level(it.report.summary.write_latency.during_since_due, |it| it.p999_ns)
    }),
    ("since_due_during_max_ns", |it| {
        level(it.report.summary.write_latency.during_since_due, |it| it.max_ns)
    }),
    ("cpu_source_seconds", |it| cpu_total(&it.report.summary.cpu.source)),
    ("cpu_destination_seconds", |it| cpu_total(&it.report.summary.cpu.destination)),
    ("longest_outage_seconds", |it| maybe(longest_outage(it.report))),
    ("warnings", |it| it.report.warnings.len().to_string()),
];

fn passes(out: &mut String, run: Named<'_>) {
    for it in &run.report.passes {
        let fields = [
            it.number.to_string(),
            word(&it.kind),
            number(it.started_seconds),
            maybe(it.length_seconds),
            maybe(it.sync_seconds),
            whole(it.dirty_pages_at_sync),
            whole(it.pages_sent),
            whole(it.zero_pages),
            whole(it.pages_resent),
            whole(it.wire_bytes),
            maybe(it.bandwidth_bytes_per_second),
            whole(it.remaining_bytes_at_end),
            maybe(it.dirty_rate_bytes_per_second),
            maybe(it.touch_rate_bytes_per_second),
            maybe(it.guest_dip_percent),
        ];
        line(out, named(run, fields));
    }
}

fn timeline(out: &mut String, run: Named<'_>) {
    for it in &run.report.timeline {
        let fields = [
            number(it.t_seconds),
            text(&it.state),
            whole(it.pass),
            whole(it.remaining_bytes),
            whole(it.transferred_bytes),
            maybe(it.bandwidth_bytes_per_second),
            maybe(it.dirty_rate_bytes_per_second),
            whole(it.threshold_bytes),
            maybe(it.expected_downtime_seconds),
            maybe(it.throttle_percent),
        ];
        line(out, named(run, fields));
    }
}

fn guest(out: &mut String, run: Named<'_>) {
    for it in &run.report.guest {
        let counts: Vec<String> = it.counts_per_worker.iter().map(u64::to_string).collect();
        let fields = [
            number(it.t_seconds),
            side(it.side),
            number(it.interval_seconds),
            number(it.writes_per_second),
            counts.join(" "),
            level(it.latency, |it| it.samples),
            level(it.latency, |it| it.p50_ns),
            level(it.latency, |it| it.p99_ns),
            level(it.latency, |it| it.p999_ns),
            level(it.latency, |it| it.max_ns),
        ];
        line(out, named(run, fields));
    }
}

fn cpu(out: &mut String, run: Named<'_>) {
    for it in &run.report.cpu {
        for (class, seconds) in &it.classes {
            let resident = whole(it.resident_bytes);
            let fields =
                [number(it.t_seconds), side(it.side), text(class), number(*seconds), resident];
            line(out, named(run, fields));
        }
    }
}

fn outages(out: &mut String, run: Named<'_>) {
    for probe in &run.report.probes {
        for it in &probe.outages {
            let fields = [
                text(&probe.kind),
                maybe(probe.interval_seconds),
                number(it.start_seconds),
                number(it.length_seconds),
                it.has_ended.to_string(),
                whole(it.lost),
                word(&it.direction),
                maybe(it.resolution_seconds),
            ];
            line(out, named(run, fields));
        }
    }
}

fn named<const N: usize>(run: Named<'_>, fields: [String; N]) -> impl Iterator<Item = String> {
    std::iter::once(text(run.name)).chain(fields)
}

fn line(out: &mut String, fields: impl Iterator<Item = String>) {
    for (index, field) in fields.enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(out, "{comma}{field}");
    }
    out.push_str("\r\n");
}

/// A text in quotes where it needs them.
fn text(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

fn word(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    text(value.as_str().unwrap_or_default())
}

fn side(side: Side) -> String {
    crate::text::side_word(side).to_owned()
}

fn number(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { String::new() }
}

fn maybe(value: Option<f64>) -> String {
    value.map_or(String::new(), number)
}

fn whole(value: Option<u64>) -> String {
    value.map_or(String::new(), |it| it.to_string())
}

fn flag(value: Option<bool>) -> String {
    value.map_or(String::new(), |it| it.to_string())
}

fn level(latency: Option<Latency>, value: fn(&Latency) -> u64) -> String {
    whole(latency.as_ref().map(value))
}

fn cpu_total(classes: &[sterna_report::ClassCpu]) -> String {
    if classes.is_empty() {
        String::new()
    } else {
        number(classes.iter().map(|it| it.cpu_seconds).sum())
    }
}

fn longest_outage(report: &Report) -> Option<f64> {
    report
        .probes
        .iter()
        .filter(|it| it.is_of_network())
        .filter_map(Probe::longest_outage_seconds)
        .max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_where_they_must_be_and_run_nowhere() {
        let table = [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("a\nb", "\"a\nb\""),
            ("=1+1", "'=1+1"),
            ("@SUM(A1),2", "\"'@SUM(A1),2\""),
            ("", ""),
        ];
        for (given, expected) in table {
            assert_eq!(text(given), expected);
        }
    }

    #[test]
    fn names_of_columns_are_unlike_each_other_and_begin_with_the_run() {
        for table in CsvTable::ALL {
            let columns = table.columns();
            let mut sorted = columns.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), columns.len(), "{}", table.as_str());
            assert_eq!(columns[0], "run");
        }
    }
}
