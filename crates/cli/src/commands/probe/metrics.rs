//! What was seen, as OpenMetrics.

use std::fmt::Write;

use sterna_report::probing::{ProbeReport, ProbeResult};

type Value = fn(&ProbeResult) -> Option<f64>;

/// Name, kind, unit, what it is, and where it stands in the report.
const FAMILIES: &[(&str, &str, &str, &str, Value)] = &[
    ("sent", "counter", "", "Messages, requests, records or frames", |it| Some(it.sent as f64)),
    ("received", "counter", "", "Those that were answered, or came", |it| Some(it.received as f64)),
    ("lost", "counter", "", "Those that were not", |it| Some(it.lost as f64)),
    ("lost_to_responder", "counter", "", "Lost before they reached the responder", |it| {
        it.lost_to_responder.map(|it| it as f64)
    }),
    ("lost_from_responder", "counter", "", "Lost after they had reached the responder", |it| {
        it.lost_from_responder.map(|it| it as f64)
    }),
    ("duplicates", "counter", "", "Answers beyond the first", |it| Some(it.duplicates as f64)),
    ("reordered", "counter", "", "Answers that were overtaken", |it| Some(it.reordered as f64)),
    ("outages", "counter", "", "Silences, or freezes of the picture", |it| {
        Some(it.outages.len() as f64)
    }),
    ("outage_seconds", "counter", "seconds", "How long these were, together", |it| {
        Some(it.outages.iter().map(|it| it.length_seconds).sum())
    }),
    ("longest_outage_seconds", "gauge", "seconds", "The longest of them", |it| {
        it.longest_outage_seconds
    }),
    (
        "round_trip_p50_seconds",
        "gauge",
        "seconds",
        "Half of the messages took at most this",
        |it| it.round_trip.map(|it| it.p50_ns as f64 / 1e9),
    ),
    (
        "round_trip_p99_seconds",
        "gauge",
        "seconds",
        "99 % of the messages took at most this",
        |it| it.round_trip.map(|it| it.p99_ns as f64 / 1e9),
    ),
    ("round_trip_max_seconds", "gauge", "seconds", "The slowest message", |it| {
        it.round_trip.map(|it| it.max_ns as f64 / 1e9)
    }),
    ("late_seconds", "gauge", "seconds", "How late the probe itself was at most", |it| {
        Some(it.late_seconds)
    }),
];

/// The page.
pub fn page(report: &ProbeReport) -> String {
    let mut text = String::new();
    for (name, kind, unit, help, value) in FAMILIES {
        let values: Vec<(&ProbeResult, f64)> =
            report.probes.iter().filter_map(|it| Some((it, value(it)?))).collect();
        if values.is_empty() {
            continue;
        }
        let _ = writeln!(text, "# TYPE sterna_probe_{name} {kind}");
        if !unit.is_empty() {
            let _ = writeln!(text, "# UNIT sterna_probe_{name} {unit}");
        }
        let _ = writeln!(text, "# HELP sterna_probe_{name} {help}");
        let suffix = if *kind == "counter" { "_total" } else { "" };
        for (probe, value) in values {
            let labels = labels(probe);
            let _ = writeln!(text, "sterna_probe_{name}{suffix}{labels} {value}");
        }
    }
    text.push_str("# TYPE sterna_probe_noise_seconds gauge\n# UNIT sterna_probe_noise_seconds seconds\n# HELP sterna_probe_noise_seconds How late this process itself ran at most\n");
    let _ = writeln!(text, "sterna_probe_noise_seconds {}", report.noise.late_max_ns as f64 / 1e9);
    text + "# EOF\n"
}

fn labels(probe: &ProbeResult) -> String {
    let escaped = |it: &str| it.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!(
        "{{probe=\"{}\",kind=\"{}\",target=\"{}\"}}",
        escaped(&probe.name),
        probe.kind,
        escaped(&probe.target)
    )
}
