//! Reports as OpenMetrics text, for systems that keep numbers over time.
//!
//! Every number of the summary is a gauge with the name and the unit of its field; what is not known
//! has no sample. Verdict and integrity are state sets, and where a run was made is an info.

use std::fmt::Write as _;

use sterna_report::{Integrity, Report, Summary, Verdict};

use crate::html::{Named, title};

/// A gauge: the field's name, its unit, and its value.
struct Gauge {
    field: &'static str,
    unit: &'static str,
    value: fn(&Summary) -> Option<f64>,
}

const fn gauge(
    field: &'static str,
    unit: &'static str,
    value: fn(&Summary) -> Option<f64>,
) -> Gauge {
    Gauge { field, unit, value }
}

const GAUGES: [Gauge; 24] = [
    gauge("total_time_seconds", "seconds", |it| it.total_time_seconds),
    gauge("setup_seconds", "seconds", |it| it.setup_seconds),
    gauge("downtime_seconds", "seconds", |it| it.downtime_seconds),
    gauge("downtime_uncertainty_seconds", "seconds", |it| it.downtime_uncertainty_seconds),
    gauge("downtime_claimed_seconds", "seconds", |it| it.downtime_claimed_seconds),
    gauge("final_sync_seconds", "seconds", |it| it.final_sync_seconds),
    gauge("final_transfer_seconds", "seconds", |it| it.final_transfer_seconds),
    gauge("resume_seconds", "seconds", |it| it.resume_seconds),
    gauge("blackout_seconds", "seconds", |it| it.blackout_seconds),
    gauge("convergence_seconds", "seconds", |it| it.convergence_seconds),
    gauge("lost_work_seconds", "seconds", |it| it.lost_work_seconds),
    gauge("baseline_pages_per_second", "pages_per_second", |it| it.baseline_pages_per_second),
    gauge("touch_rate_pages_per_second", "pages_per_second", |it| it.touch_rate_pages_per_second),
    gauge("touch_rate_bytes_per_second", "bytes_per_second", |it| it.touch_rate_bytes_per_second),
    gauge("dirty_rate_bytes_per_second", "bytes_per_second", |it| it.dirty_rate_bytes_per_second),
    gauge("passes", "", |it| Some(it.passes as f64)),
    gauge("pages_sent", "", |it| it.pages_sent.map(|it| it as f64)),
    gauge("zero_pages", "", |it| it.zero_pages.map(|it| it as f64)),
    gauge("pages_resent", "", |it| it.pages_resent.map(|it| it as f64)),
    gauge("wire_bytes", "bytes", |it| it.wire_bytes.map(|it| it as f64)),
    gauge("amplification", "", |it| it.amplification),
    gauge("bandwidth_min_bytes_per_second", "bytes_per_second", |it| {
        it.bandwidth_min_bytes_per_second
    }),
    gauge("bandwidth_mean_bytes_per_second", "bytes_per_second", |it| {
        it.bandwidth_mean_bytes_per_second
    }),
    gauge("bandwidth_max_bytes_per_second", "bytes_per_second", |it| {
        it.bandwidth_max_bytes_per_second
    }),
];

const VERDICTS: [Verdict; 7] = [
    Verdict::Completed,
    Verdict::CompletedForced,
    Verdict::Cancelled,
    Verdict::Failed,
    Verdict::Lost,
    Verdict::Unsupported,
    Verdict::Interrupted,
];

const INTEGRITIES: [Integrity; 3] = [Integrity::Verified, Integrity::Corrupt, Integrity::Unchecked];

/// All runs as one exposition; names of runs must differ.
pub fn openmetrics(runs: &[Named<'_>]) -> String {
    let mut out = String::new();
    infos(&mut out, runs);
    states(
        &mut out,
        runs,
        "verdict",
        "How the migration ended.",
        &VERDICTS.map(Verdict::as_str),
        |it| it.summary.verdict.as_str(),
    );
    states(
        &mut out,
        runs,
        "integrity",
        "Whether guest memory was found intact after the run.",
        &INTEGRITIES.map(Integrity::as_str),
        |it| it.summary.integrity.as_str(),
    );
    let schema = sterna_report::schema();
    let fields = &schema["$defs"]["Summary"]["properties"];
    for gauge in &GAUGES {
        let text = fields[gauge.field]["description"].as_str().unwrap_or_default();
        gauges(&mut out, runs, gauge, text);
    }
    out.push_str("# EOF\n");
    out
}

fn infos(out: &mut String, runs: &[Named<'_>]) {
    head(out, "run", "info", "", "What was run, where, and by what.");
    for run in runs {
        let report = run.report;
        let host = report.host.hostname.as_deref().unwrap_or_default();
        let labels = [
            ("run", run.name),
            ("scenario", &title(report)),
            ("engine", &report.engine.name),
            ("host", host),
            ("started_at", &report.started_at),
            ("version", &report.tool.version),
        ];
        let labels = labels.map(|(name, value)| format!("{name}=\"{}\"", escape(value)));
        let _ = writeln!(out, "sterna_run_info{{{}}} 1", labels.join(","));
    }
}

fn states(
    out: &mut String,
    runs: &[Named<'_>],
    name: &str,
    help: &str,
    states: &[&str],
    of: fn(&Report) -> &'static str,
) {
    head(out, name, "stateset", "", help);
    for run in runs {
        for state in states {
            let is_it = u8::from(of(run.report) == *state);
            let run = escape(run.name);
            let _ =
                writeln!(out, "sterna_{name}{{run=\"{run}\",sterna_{name}=\"{state}\"}} {is_it}");
        }
    }
}

fn gauges(out: &mut String, runs: &[Named<'_>], gauge: &Gauge, help: &str) {
    let values = runs.iter().filter_map(|it| Some((it.name, (gauge.value)(&it.report.summary)?)));
    let values: Vec<(&str, f64)> = values.filter(|it| it.1.is_finite()).collect();
    if values.is_empty() {
        return;
    }
    head(out, gauge.field, "gauge", gauge.unit, help);
    for (run, value) in values {
        let _ = writeln!(out, "sterna_{}{{run=\"{}\"}} {value}", gauge.field, escape(run));
    }
}

fn head(out: &mut String, name: &str, kind: &str, unit: &str, help: &str) {
    let _ = writeln!(out, "# TYPE sterna_{name} {kind}");
    if !unit.is_empty() {
        let _ = writeln!(out, "# UNIT sterna_{name} {unit}");
    }
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let _ = writeln!(out, "# HELP sterna_{name} {}", escape(&help));
}

/// For values of labels and for help: both know these three escapes.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
