//! Reports go to files and come back unchanged, and other documents are refused in clear words.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::{fs, os::unix::net::UnixListener, path::Path};

use serde_json::{Value, json};
use sterna_report::{ReadError, Report, Tracker, statistics};

const COMPLETED: &str = include_str!("data/completed-1.0.json");

fn changed(pointer: &str, value: Value) -> String {
    let mut report: Value = serde_json::from_str(COMPLETED).unwrap();
    *report.pointer_mut(pointer).unwrap() = value;
    report.to_string()
}

#[test]
fn a_report_comes_back_as_it_was() {
    let report = Report::read(COMPLETED).unwrap();
    let again = Report::read(&report.to_json_pretty()).unwrap();
    assert!(again == report);
    let original: Value = serde_json::from_str(COMPLETED).unwrap();
    let written: Value = serde_json::from_str(&report.to_json_pretty()).unwrap();
    assert!(written == original, "reading and writing must not lose, rename or retype a field");
    assert!(report.to_json_pretty().ends_with("}\n"));
}

#[test]
fn later_minor_versions_are_read() {
    let mut later: Value = serde_json::from_str(COMPLETED).unwrap();
    later["schema_version"] = json!("1.42");
    later["summary"]["new_in_1_42"] = json!(1);
    later["engine"]["tracker"] = json!("kvm-dirty-ring");
    let report = Report::read(&later.to_string()).unwrap();
    assert_eq!(report.engine.tracker, Some(Tracker::Other("kvm-dirty-ring".to_owned())));
    assert_eq!(report.schema_version, "1.42");
}

#[test]
fn other_documents_are_refused_in_clear_words() {
    let table = [
        (String::new(), "The text is not a report"),
        ("{}".to_owned(), "The text is not a report"),
        ("[1, 2]".to_owned(), "The text is not a report"),
        (changed("/schema", json!("guestperf")), "The document's `schema` is `guestperf`"),
        (changed("/schema_version", json!("one")), "The report's `schema_version` is `one`"),
        (
            changed("/schema_version", json!("2.0")),
            "schema version 2.0, this program reads up to 1.0",
        ),
        (changed("/schema_version", json!("0.9")), "schema version 0.9, which is older"),
        (changed("/summary", json!(3)), "does not have the shape of its schema version 1.0"),
        (changed("/summary/verdict", json!("splendid")), "does not have the shape"),
    ];
    for (text, expected) in table {
        let error = Report::read(&text).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_number_in_another_unit_is_refused_and_not_lost() {
    let mut mixed: Value = serde_json::from_str(COMPLETED).unwrap();
    let summary = mixed["summary"].as_object_mut().unwrap();
    let downtime = summary.remove("downtime_seconds").unwrap();
    summary.insert("downtime_ms".to_owned(), downtime);
    let error = Report::read(&mixed.to_string()).unwrap_err().to_string();
    assert!(
        error.contains("`summary.downtime_ms`") && error.contains("`downtime_seconds`"),
        "{error}"
    );

    // Beside the schema's own field it is an addition, as later minor versions make them.
    let mut later: Value = serde_json::from_str(COMPLETED).unwrap();
    later["summary"]["downtime_ns"] = json!(5);
    assert!(Report::read(&later.to_string()).is_ok());
}

#[test]
fn a_future_major_is_told_apart_from_a_broken_report() {
    let mut future: Value = serde_json::from_str(COMPLETED).unwrap();
    future["schema_version"] = json!("2.0");
    future["summary"] = json!("all different");
    assert!(matches!(Report::read(&future.to_string()), Err(ReadError::TooNew { .. })));
}

#[test]
fn a_report_replaces_the_file_and_leaves_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    fs::write(&path, "an older and longer text ".repeat(10_000)).unwrap();
    let report = Report::read(COMPLETED).unwrap();
    report.write_atomically(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), report.to_json_pretty());
    assert_eq!(names(folder.path()), ["report.json"]);
}

#[test]
fn a_symbolic_link_stays_one() {
    let folder = tempfile::tempdir().unwrap();
    let (target, link) = (folder.path().join("target.json"), folder.path().join("link.json"));
    fs::write(&target, "").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let report = Report::read(COMPLETED).unwrap();
    report.write_atomically(&link).unwrap();
    assert!(link.is_symlink());
    assert_eq!(fs::read_to_string(&target).unwrap(), report.to_json_pretty());
}

#[test]
fn what_is_no_regular_file_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    let error = Report::read(COMPLETED).unwrap().write_atomically(&path).unwrap_err();
    assert_eq!(error.path, path);
    assert!(!fs::metadata(&path).unwrap().is_file());
    assert_eq!(names(folder.path()), ["socket"]);
}

#[test]
fn a_missing_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing").join("report.json");
    let error = Report::read(COMPLETED).unwrap().write_atomically(&path).unwrap_err();
    assert!(error.to_string().contains("missing/report.json"), "{error}");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn the_summary_of_the_fixture_follows_from_its_series() {
    let report = Report::read(COMPLETED).unwrap();
    let summary = &report.summary;
    let throughput = statistics::Throughput::new(&report.guest);
    let baseline = statistics::baseline(&report.guest);
    let running = 0.735;
    assert_eq!(baseline, summary.baseline_pages_per_second);
    close(throughput.mean(0.0, 0.681), summary.touch_rate_pages_per_second);
    close(statistics::mean_dirty_rate(&report.passes), summary.dirty_rate_bytes_per_second);
    let lost = statistics::lost_work(&throughput, baseline, running).unwrap();
    close(Some(lost.seconds), summary.lost_work_seconds);
    assert_eq!(Some(lost.lower_bound), summary.lost_work_lower_bound);
    let resumption = statistics::resumption(&report.guest, baseline, running);
    close(resumption.first_sample_seconds, summary.resumption.first_sample_seconds);
    close(resumption.at_95_percent_seconds, summary.resumption.at_95_percent_seconds);
    let bandwidth = statistics::bandwidth(&report.timeline, 0.012, 0.735).unwrap();
    close(bandwidth.min, summary.bandwidth_min_bytes_per_second);
    close(Some(bandwidth.mean), summary.bandwidth_mean_bytes_per_second);
    close(bandwidth.max, summary.bandwidth_max_bytes_per_second);
    let point = statistics::convergence(&report.passes, &report.timeline, 0.681);
    assert_eq!(point.map(|point| point.pass), summary.convergence_pass);
    assert_eq!(statistics::resident_peak(&report.cpu), summary.resident_peak_bytes);
    let cpu = statistics::cpu_by_class(&report.cpu, sterna_report::Side::Source, 0.0, 0.735);
    close(cpu[1].cores_mean, summary.cpu.source[1].cores_mean);
}

fn close(seen: Option<f64>, expected: Option<f64>) {
    let (seen, expected) = (seen.unwrap(), expected.unwrap());
    assert!(
        (seen - expected).abs() <= 1e-4 * expected.abs().max(1e-3),
        "{seen} against {expected}"
    );
}
