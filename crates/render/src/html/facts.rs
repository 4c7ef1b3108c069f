//! What stands below the charts: warnings, passes, events, scenario, machine, and what the words mean.

use maud::{Markup, html};
use serde_json::{Map, Value};
use sterna_report::{Control, PassKind, Report};
use sterna_units::{human_bits_per_second, human_bytes, human_bytes_per_second};

use super::table::{Cell, Table};
use crate::number::seconds;

/// Events and passes beyond so many are counted only; the report has them all.
const MOST_ROWS: usize = 300;

/// What to trust less.
pub fn warnings(report: &Report) -> Markup {
    html! {
        @if !report.warnings.is_empty() {
            section.warnings aria-labelledby="warnings" {
                h2 #warnings { "Warnings" }
                ul {
                    @for warning in &report.warnings {
                        li {
                            (warning.text) " " code { (warning.code) }
                            @if let Some(advice) = &warning.advice { p.advice { (advice) } }
                        }
                    }
                }
            }
        }
    }
}

/// What would have ended it, with the command to try.
pub fn advice(report: &Report) -> Markup {
    html! {
        @if !report.advice.is_empty() {
            section.warnings aria-labelledby="advice" {
                h2 #advice { "Advice" }
                ul {
                    @for advice in &report.advice {
                        li {
                            (advice.text)
                            @if let Some(passes) = advice.passes { " (from " (passes) " passes)" }
                            @if let Some(command) = &advice.command { p.advice { code { (command) } } }
                        }
                    }
                }
            }
        }
    }
}

/// One row for each pass.
pub fn passes(report: &Report) -> Table {
    let mut table = Table::new(
        "Passes",
        &[
            "pass",
            "begins, s",
            "length",
            "sync",
            "dirty",
            "sent",
            "zero",
            "sent again",
            "on the wire",
            "bandwidth",
            "dirty rate",
            "touch rate",
            "dip",
        ],
    );
    table.sortable = true;
    for pass in report.passes.iter().take(MOST_ROWS) {
        let pages = |it: Option<u64>| Cell::number(it.map(|it| it as f64), |it| format!("{it:.0}"));
        let name = match pass.kind {
            PassKind::Pass => Cell::number(Some(pass.number as f64), |it| format!("{it:.0}")),
            PassKind::Final => Cell {
                text: "final".to_owned(),
                value: Some(pass.number as f64),
                ..Cell::default()
            },
        };
        table.rows.push(vec![
            name,
            Cell::number(Some(pass.started_seconds), |it| format!("{it:.3}")),
            Cell::number(pass.length_seconds, seconds),
            Cell::number(pass.sync_seconds, seconds),
            pages(pass.dirty_pages_at_sync),
            pages(pass.pages_sent),
            pages(pass.zero_pages),
            pages(pass.pages_resent),
            Cell::number(pass.wire_bytes.map(|it| it as f64), human_bytes),
            Cell::number(pass.bandwidth_bytes_per_second, human_bits_per_second),
            Cell::number(pass.dirty_rate_bytes_per_second, human_bytes_per_second),
            Cell::number(pass.touch_rate_bytes_per_second, human_bytes_per_second),
            Cell::number(pass.guest_dip_percent, |it| format!("{it:.1} %")),
        ]);
    }
    table
}

/// What happened, in order.
pub fn events(report: &Report) -> Table {
    let mut table = Table::new("Events", &["at, s", "who", "what", "in words"]);
    for event in report.events.iter().take(MOST_ROWS) {
        let who = serde_json::to_value(event.side).ok();
        let who = who.and_then(|it| it.as_str().map(str::to_owned)).unwrap_or_default();
        table.rows.push(vec![
            Cell::number(Some(event.t_seconds), |it| format!("{it:.3}")),
            Cell::words(who),
            Cell::words(&event.kind),
            Cell::words(&event.text),
        ]);
    }
    table
}

/// What was left out of a table, if anything was.
pub fn left_out(rows: usize) -> Option<String> {
    (rows > MOST_ROWS).then(|| format!("{} more rows are in the report.", rows - MOST_ROWS))
}

/// The scenario by its fields; those that are not set are named together.
pub fn scenario(report: &Report) -> Markup {
    let mut set: Vec<(String, String)> = Vec::new();
    let mut unset: Vec<String> = Vec::new();
    flatten("", &report.scenario, &mut set, &mut unset);
    let mut table = Table::new("The scenario", &["field", "value"]);
    let rows = set.into_iter().map(|(name, value)| vec![Cell::words(name), Cell::words(value)]);
    table.rows.extend(rows);
    html! {
        (table.markup())
        @if !unset.is_empty() {
            p.aside { "Not set: " (unset.join(", ")) "." }
        }
    }
}

fn flatten(
    path: &str,
    fields: &Map<String, Value>,
    set: &mut Vec<(String, String)>,
    unset: &mut Vec<String>,
) {
    for (name, value) in fields {
        let name = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            Value::Object(fields) if !fields.is_empty() => flatten(&name, fields, set, unset),
            Value::Null => unset.push(name),
            Value::String(text) => set.push((name, text.clone())),
            Value::Array(items) if items.is_empty() => unset.push(name),
            other => set.push((name, other.to_string())),
        }
    }
}

/// By what and where it was run.
pub fn machine(report: &Report) -> Table {
    let mut table = Table::new("Engine and machine", &["what", "value"]);
    let engine = &report.engine;
    let peers = &engine.peer_versions;
    let tracker = engine.tracker.as_ref().map(|it| it.as_str().to_owned());
    let host = &report.host;
    let control = match engine.control {
        Control::Observed => "others; it was only watched",
        Control::Steered => "this program",
    };
    let rows: [(&str, Option<String>); 15] = [
        ("engine", Some(engine.name.clone())),
        ("steered by", Some(control.to_owned())),
        ("transport", engine.transport.clone()),
        ("version on the source", peers.source.clone()),
        ("version on the destination", peers.destination.clone()),
        ("tracker", tracker),
        ("why this tracker", engine.tracker_reason.clone()),
        ("unit of tracking", engine.tracking_page_bytes.map(|it| human_bytes(it as f64))),
        ("machine", host.hostname.clone()),
        ("system", host.os.clone()),
        ("kernel", host.kernel.clone()),
        ("processor", host.cpu_model.clone()),
        ("processors", host.cpus.map(|it| it.to_string())),
        ("memory of the machine", host.memory_bytes.map(|it| human_bytes(it as f64))),
        ("begun", Some(report.started_at.clone())),
    ];
    for (name, value) in rows {
        if let Some(value) = value {
            table.rows.push(vec![Cell::words(name), Cell::words(value)]);
        }
    }
    table
}

/// What the headline numbers mean, in the words of the report's schema.
pub fn glossary() -> Markup {
    const WORDS: [(&str, &str); 7] = [
        ("Total time", "total_time_seconds"),
        ("Downtime", "downtime_seconds"),
        ("Blackout", "blackout_seconds"),
        ("Lost work", "lost_work_seconds"),
        ("Baseline", "baseline_pages_per_second"),
        ("Touch rate", "touch_rate_pages_per_second"),
        ("Dirty rate", "dirty_rate_bytes_per_second"),
    ];
    let schema = sterna_report::schema();
    let fields = &schema["$defs"]["Summary"]["properties"];
    html! {
        dl.words {
            @for (word, field) in WORDS {
                @if let Some(text) = fields[field]["description"].as_str() {
                    dt { (word) }
                    dd { (text) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_scenario_stand_under_their_whole_names() {
        let scenario = serde_json::json!({
            "name": "a", "guest": { "vcpus": 2, "source": { "cpus": null } }, "faults": [], "probe": [{"kind": "udp"}],
        });
        let (mut set, mut unset) = (Vec::new(), Vec::new());
        flatten("", scenario.as_object().unwrap(), &mut set, &mut unset);
        let set: Vec<String> = set.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert!(set.contains(&"guest.vcpus=2".to_owned()), "{set:?}");
        assert!(set.contains(&r#"probe=[{"kind":"udp"}]"#.to_owned()), "{set:?}");
        assert_eq!(unset, ["faults", "guest.source.cpus"]);
    }

    #[test]
    fn each_word_is_explained() {
        assert_eq!(glossary().into_string().matches("<dd>").count(), 7);
    }
}
