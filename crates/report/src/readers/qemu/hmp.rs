//! HMP: the lines of `info migrate`, as QEMU has printed them since 1.x and, in another form, since 10.1,
//! and those of `info migrate_parameters` and `info migrate_capabilities` beside them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::quantity::{bits_rate, bytes, bytes_rate, count, number, seconds};
use super::{Answer, MigrationParameters, QueryMigrate};

/// Lines of `info migrate` that are settings of the machine and no part of an answer.
const GLOBALS: [&str; 8] = [
    "globals",
    "store-global-state",
    "only-migratable",
    "send-configuration",
    "send-section-footer",
    "send-switchover-start",
    "decompress-error-check",
    "clear-bitmap-shift",
];

/// The answers in a text; `None` where there is none.
pub(super) fn answers(text: &str) -> Option<Vec<Answer>> {
    let is_of_10_1 = text.contains("Time (ms):") || text.contains("RAM info:");
    let mut answers: Vec<Answer> = Vec::new();
    for line in text.lines() {
        let Some((key, value)) = key_and_value(line) else { continue };
        let begins = key == "Migration status" || (is_of_10_1 && key == "Status");
        if begins {
            answers.push(Answer { at_epoch_seconds: None, query: status(value) });
            continue;
        }
        if let Some(answer) = answers.last_mut() {
            add(key, value, &mut answer.query);
        }
    }
    (!answers.is_empty()).then_some(answers)
}

fn key_and_value(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let line = line.strip_prefix("(qemu)").unwrap_or(line);
    let (key, value) = line.split_once(':')?;
    Some((key.trim(), value.trim()))
}

/// `failed (Unable to write to socket: Broken pipe)`
fn status(value: &str) -> QueryMigrate {
    let (word, error) = match value.split_once(' ') {
        Some((word, rest)) => (word, Some(rest.trim().trim_matches(['(', ')']))),
        None => (value, None),
    };
    QueryMigrate {
        status: Some(word.to_owned()),
        error: error.filter(|it| !it.is_empty()).map(str::to_owned),
        ..QueryMigrate::default()
    }
}

fn add(key: &str, value: &str, query: &mut QueryMigrate) {
    let is_list = value.contains('=');
    match key {
        "total time" => query.total_time_seconds = seconds(value),
        "downtime" => query.downtime_seconds = seconds(value),
        "expected downtime" => query.expected_downtime_seconds = seconds(value),
        "setup" => query.setup_seconds = seconds(value),
        "transferred ram" => query.transferred_bytes = bytes(value),
        "remaining ram" => query.remaining_bytes = bytes(value),
        "total ram" => query.total_bytes = bytes(value),
        "throughput" | "Throughput (Mbps)" => query.bandwidth_bytes_per_second = bits_rate(value),
        "duplicate" => query.duplicate_pages = count(value),
        "skipped" if count(value) == Some(0) => {}
        "normal" => query.normal_pages = count(value),
        "normal bytes" => query.normal_bytes = bytes(value),
        "dirty sync count" => query.dirty_sync_count = count(value),
        "page size" => query.page_bytes = bytes(value),
        "multifd bytes" => query.multifd_bytes = bytes(value),
        "pages-per-second" => query.pages_per_second = number(value),
        "dirty pages rate" => query.dirty_pages_per_second = number(value),
        "postcopy request count" => query.postcopy_requests = count(value),
        "precopy ram" => query.precopy_bytes = bytes(value),
        "downtime ram" => query.downtime_bytes = bytes(value),
        "postcopy ram" => query.postcopy_bytes = bytes(value),
        "cpu throttle percentage" | "CPU Throttle (%)" => query.throttle_percent = number(value),
        "Time (ms)" | "Sizes" | "Transfers" | "Channels" | "Page Types" | "Page Rates (pps)"
        | "Others"
            if is_list =>
        {
            for (name, value) in pairs(value) {
                if !add_pair(key, name, value, query) {
                    keep(&format!("{key} {name}"), value, &mut query.other);
                }
            }
        }
        "RAM info" | "capabilities" => {}
        key if GLOBALS.contains(&key) || value == "on" || value == "off" => {}
        key if setting(key, value, &mut MigrationParameters::default()) => {}
        key => keep(key, value, &mut query.other),
    }
}

/// `total=5000, setup=3, down=120`
fn pairs(value: &str) -> impl Iterator<Item = (&str, &str)> {
    value.split(',').filter_map(|it| it.trim().split_once('='))
}

fn add_pair(key: &str, name: &str, value: &str, query: &mut QueryMigrate) -> bool {
    match (key, name) {
        ("Time (ms)", "total") => query.total_time_seconds = seconds(value),
        ("Time (ms)", "setup") => query.setup_seconds = seconds(value),
        ("Time (ms)", "down") => query.downtime_seconds = seconds(value),
        ("Time (ms)", "exp_down") => query.expected_downtime_seconds = seconds(value),
        ("Sizes", "pagesize") => query.page_bytes = bytes(value),
        ("Sizes", "total") => query.total_bytes = bytes(value),
        ("Transfers", "transferred") => query.transferred_bytes = bytes(value),
        ("Transfers", "remain") => query.remaining_bytes = bytes(value),
        ("Channels", "precopy") => query.precopy_bytes = bytes(value),
        ("Channels", "multifd") => query.multifd_bytes = bytes(value),
        ("Channels", "postcopy") => query.postcopy_bytes = bytes(value),
        ("Page Types", "normal") => query.normal_pages = count(value),
        ("Page Types", "zero") => query.duplicate_pages = count(value),
        ("Page Rates (pps)", "transfer") => query.pages_per_second = number(value),
        ("Page Rates (pps)", "dirty") => query.dirty_pages_per_second = number(value),
        ("Others", "dirty_syncs") => query.dirty_sync_count = count(value),
        ("Others", "postcopy_req") => query.postcopy_requests = count(value),
        _ => return false,
    }
    true
}

fn keep(key: &str, value: &str, other: &mut BTreeMap<String, Value>) {
    // What a user typed at a prompt, or the text around, is no line of an answer.
    if !value.is_empty() && key.len() < 60 {
        other.insert(key.to_owned(), value.into());
    }
}

/// Parameters and capabilities, wherever they stand in the text.
pub(super) fn settings(text: &str) -> (MigrationParameters, BTreeMap<String, bool>) {
    let mut parameters = MigrationParameters::default();
    let mut capabilities = BTreeMap::new();
    for line in text.lines() {
        let Some((key, value)) = key_and_value(line) else { continue };
        // `capabilities: xbzrle: off rdma-pin-all: off`
        if key == "capabilities" {
            let words: Vec<&str> = value.split_whitespace().collect();
            let named = words.chunks(2).filter_map(|it| Some((it.first()?, it.get(1)?)));
            for (name, state) in named.filter(|it| ["on", "off"].contains(it.1)) {
                capabilities.insert(name.trim_end_matches(':').to_owned(), *state == "on");
            }
        } else if !setting(key, value, &mut parameters) {
            let is_plain = key.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            if is_plain && ["on", "off"].contains(&value) && !GLOBALS.contains(&key) {
                capabilities.insert(key.to_owned(), value == "on");
            }
        }
    }
    (parameters, capabilities)
}

fn setting(key: &str, value: &str, parameters: &mut MigrationParameters) -> bool {
    match key {
        "downtime-limit" => parameters.downtime_limit_seconds = seconds(value),
        "max-bandwidth" => parameters.max_bandwidth_bytes_per_second = bytes_rate(value),
        "multifd-channels" => parameters.multifd_channels = count(value),
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_may_have_its_reason_beside_it() {
        let failed = status("failed (Unable to write to socket: Broken pipe)");
        assert_eq!(failed.status.as_deref(), Some("failed"));
        assert_eq!(failed.error.as_deref(), Some("Unable to write to socket: Broken pipe"));
        assert_eq!(status("completed").error, None);
    }

    #[test]
    fn settings_are_found_in_both_forms() {
        let text = "capabilities: xbzrle: off auto-converge: on \ndowntime-limit: 300 ms\n\
            max-bandwidth: 134217728 bytes/second\nmultifd-channels: 4\nreturn-path: on\n\
            store-global-state: on\n";
        let (parameters, capabilities) = settings(text);
        assert_eq!(parameters.downtime_limit_seconds, Some(0.3));
        assert_eq!(parameters.max_bandwidth_bytes_per_second, Some(134_217_728.0));
        assert_eq!(parameters.multifd_channels, Some(4));
        let expected = [("auto-converge", true), ("return-path", true), ("xbzrle", false)];
        assert_eq!(capabilities, expected.map(|it| (it.0.to_owned(), it.1)).into());
    }
}
