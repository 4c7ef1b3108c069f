//! QMP: `query-migrate`'s answers and the events beside them, one or a log of them, with whatever
//! stands around (a monitor's log, libvirt's log, the arrows of a bug report).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::lenient::Documents;
use super::{Answer, AnswerSource, MigrationLog, MigrationParameters, QueryMigrate};

/// The answers among documents; `None` where there is none.
pub(super) fn log(documents: &Documents) -> Option<MigrationLog> {
    let mut log = MigrationLog {
        source: AnswerSource::Qmp,
        answers: Vec::new(),
        parameters: MigrationParameters::default(),
        capabilities: BTreeMap::new(),
    };
    for (value, prefix) in documents.values.iter().zip(&documents.prefixes) {
        for value in each(value) {
            add(value, epoch_of(prefix), &mut log);
        }
    }
    log.answers.iter().any(|it| it.query.has_amounts() || it.query.status.is_some()).then_some(log)
}

/// A document, or those in a list of them.
fn each(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(values) if values.iter().all(Value::is_object) => values.iter().collect(),
        other => vec![other],
    }
}

fn add(value: &Value, at: Option<f64>, log: &mut MigrationLog) {
    let Some(object) = value.as_object() else { return };
    if object.get("event").and_then(Value::as_str) == Some("MIGRATION") {
        let status = object.get("data").and_then(|it| it.get("status")).and_then(Value::as_str);
        let query = QueryMigrate { status: status.map(str::to_owned), ..QueryMigrate::default() };
        log.answers.push(Answer { at_epoch_seconds: stamp(object).or(at), query });
        return;
    }
    if let Some(list) = object.get("return").and_then(Value::as_array) {
        log.capabilities.extend(list.iter().filter_map(capability));
        return;
    }
    let body = ["return", "arguments"].iter().find_map(|it| object.get(*it)?.as_object());
    let body = body.unwrap_or(object);
    add_parameters(body, &mut log.parameters);
    if is_answer(body, object.contains_key("return")) {
        log.answers.push(Answer { at_epoch_seconds: stamp(object).or(at), query: query(body) });
    }
}

/// `query-status`, jobs and block devices have a status too. An answer without amounts is one of few words.
fn is_answer(body: &Map<String, Value>, is_returned: bool) -> bool {
    const ALONE: [&str; 11] = [
        "none",
        "setup",
        "active",
        "completed",
        "failed",
        "cancelling",
        "cancelled",
        "colo",
        "pre-switchover",
        "device",
        "wait-unplug",
    ];
    let is_amount = |it: &Value| it.get("transferred").is_some() || it.get("total").is_some();
    if body.get("ram").is_some_and(is_amount) {
        return true;
    }
    let Some(status) = body.get("status").and_then(Value::as_str) else { return false };
    let is_known = ALONE.contains(&status) || status.starts_with("postcopy");
    let is_of_migration = ["total-time", "setup-time", "expected-downtime", "error-desc"];
    let has_time = is_of_migration.iter().any(|it| body.contains_key(*it));
    has_time || (is_returned && is_known && !body.contains_key("running"))
}

fn stamp(object: &Map<String, Value>) -> Option<f64> {
    let stamp = object.get("timestamp")?;
    let part = |name: &str| stamp.get(name).and_then(Value::as_f64);
    let seconds = part("seconds")?;
    (seconds >= 0.0).then(|| seconds + part("microseconds").unwrap_or(0.0) / 1e6)
}

/// `2026-11-30 10:00:00.123+0000: 1234: info : ...`, and other forms of RFC 3339 at the beginning.
fn epoch_of(prefix: &str) -> Option<f64> {
    let (date, rest) = prefix.trim_start().split_at_checked(10)?;
    let time: String = rest
        .chars()
        .skip(1)
        .take_while(|c| c.is_ascii_digit() || [':', '.', ',', '+', '-', 'Z'].contains(c))
        .collect();
    let time = time.replace(',', ".");
    let time = time.trim_end_matches(':');
    let has_zone = time.ends_with('Z') || time.get(8..).is_some_and(|it| it.contains(['+', '-']));
    let text = format!("{date}T{time}{}", if has_zone { "" } else { "Z" });
    let stamp: jiff::Timestamp = text.parse().ok()?;
    Some(stamp.as_microsecond() as f64 / 1e6)
}

fn capability(value: &Value) -> Option<(String, bool)> {
    Some((value.get("capability")?.as_str()?.to_owned(), value.get("state")?.as_bool()?))
}

fn add_parameters(body: &Map<String, Value>, parameters: &mut MigrationParameters) {
    let number = |name: &str| body.get(name).and_then(Value::as_f64).filter(|it| *it >= 0.0);
    if let Some(limit) = number("downtime-limit") {
        parameters.downtime_limit_seconds = Some(limit / 1e3);
    }
    if let Some(rate) = number("max-bandwidth") {
        parameters.max_bandwidth_bytes_per_second = Some(rate);
    }
    if let Some(channels) = body.get("multifd-channels").and_then(Value::as_u64) {
        parameters.multifd_channels = Some(channels);
    }
}

/// The members of an answer, each with its field; the rest is kept under its path.
fn query(body: &Map<String, Value>) -> QueryMigrate {
    let mut query = QueryMigrate::default();
    for (name, value) in body {
        match (name.as_str(), value) {
            ("ram", Value::Object(ram)) => {
                for (name, value) in ram {
                    if !set_ram(name, value, &mut query) {
                        keep(&format!("ram.{name}"), value, &mut query.other);
                    }
                }
            }
            (name, value) => {
                if !set(name, value, &mut query) {
                    keep(name, value, &mut query.other);
                }
            }
        }
    }
    query
}

fn keep(path: &str, value: &Value, other: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(inner) => {
            for (name, value) in inner {
                keep(&format!("{path}.{name}"), value, other);
            }
        }
        value => {
            other.insert(path.to_owned(), value.clone());
        }
    }
}

/// Whether there is a field for it. A value that is no number there is unknown.
fn set(name: &str, value: &Value, query: &mut QueryMigrate) -> bool {
    let number = || value.as_f64().filter(|it| *it >= 0.0);
    let seconds = || number().map(|it| it / 1e3);
    let text = || value.as_str().map(str::to_owned);
    match name {
        "status" => query.status = text(),
        "error-desc" => query.error = text(),
        "total-time" => query.total_time_seconds = seconds(),
        "downtime" => query.downtime_seconds = seconds(),
        "expected-downtime" => query.expected_downtime_seconds = seconds(),
        "setup-time" => query.setup_seconds = seconds(),
        "cpu-throttle-percentage" => query.throttle_percent = number(),
        _ => return false,
    }
    true
}

fn set_ram(name: &str, value: &Value, query: &mut QueryMigrate) -> bool {
    let number = || value.as_f64().filter(|it| *it >= 0.0);
    let whole = || value.as_u64();
    match name {
        "total" => query.total_bytes = whole(),
        "remaining" => query.remaining_bytes = whole(),
        "transferred" => query.transferred_bytes = whole(),
        "duplicate" => query.duplicate_pages = whole(),
        "normal" => query.normal_pages = whole(),
        "normal-bytes" => query.normal_bytes = whole(),
        "page-size" => query.page_bytes = whole(),
        "dirty-pages-rate" => query.dirty_pages_per_second = number(),
        "mbps" => query.bandwidth_bytes_per_second = number().map(|it| it * 1e6 / 8.0),
        "pages-per-second" => query.pages_per_second = number(),
        "dirty-sync-count" => query.dirty_sync_count = whole(),
        "postcopy-requests" => query.postcopy_requests = whole(),
        "multifd-bytes" => query.multifd_bytes = whole(),
        "precopy-bytes" => query.precopy_bytes = whole(),
        "downtime-bytes" => query.downtime_bytes = whole(),
        "postcopy-bytes" => query.postcopy_bytes = whole(),
        // Always 0, and gone from later versions.
        "skipped" if whole() == Some(0) => {}
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stamps_of_logs_are_read() {
        let second = 1_796_032_800.0;
        for (prefix, expected) in [
            ("2026-11-30 10:00:00.500+0000: 77: info : reply=", Some(second + 0.5)),
            ("2026-11-30T10:00:00Z qemu[7]: ", Some(second)),
            ("2026-11-30 10:00:00,250 ", Some(second + 0.25)),
            ("-> ", None),
            ("", None),
            ("yesterday at ten", None),
        ] {
            assert_eq!(epoch_of(prefix), expected, "{prefix}");
        }
    }
}
