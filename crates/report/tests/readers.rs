//! Files of all known kinds, and files that only look like one.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::{error::Error, fs, fs::File, path::Path};

use serde_json::{Value, json};
use sterna_report::readers::{AnyReadError, Format, Found, read_any, read_any_bytes};
use sterna_report::{Integrity, Verdict, schema};

const COMPLETED: &str = include_str!("data/completed-1.0.json");
const GUESTPERF: [&str; 3] = [
    include_str!("data/guestperf-2016.json"),
    include_str!("data/guestperf-7.2.json"),
    include_str!("data/guestperf-10.0.json"),
];
const IPERF3: &str = include_str!("data/iperf3.json");
const MM_DIRTY: &str = include_str!("data/mm_dirty.txt");
const SPIKES: &str = "1464690000,18446744073709551615\n1464690012,350\n1464690040,1200\n";

fn read(text: &str) -> Result<Found, AnyReadError> {
    read_any_bytes(Path::new("some file"), text.as_bytes())
}

#[test]
fn every_kind_is_recognised_and_gives_a_report_of_the_schema() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let table = [
        (COMPLETED, Format::Sterna),
        (GUESTPERF[0], Format::Guestperf),
        (GUESTPERF[1], Format::Guestperf),
        (GUESTPERF[2], Format::Guestperf),
        (IPERF3, Format::Iperf3),
        (MM_DIRTY, Format::MigMonDirty),
        (SPIKES, Format::MigMonSpikes),
    ];
    for (text, format) in table {
        let found = read(text).unwrap();
        assert_eq!(found.format, format);
        let json: Value = serde_json::from_str(&found.report.to_json_pretty()).unwrap();
        let errors: Vec<String> = validator.iter_errors(&json).map(|it| it.to_string()).collect();
        assert_eq!(errors, [""; 0], "{format:?}");
        assert_eq!(read(&found.report.to_json_pretty()).unwrap().report, found.report);
    }
}

#[test]
fn a_later_minor_version_is_read_and_a_later_major_is_not() {
    let mut report: Value = serde_json::from_str(COMPLETED).unwrap();
    report["schema_version"] = json!("1.99");
    report["summary"]["mood"] = json!("good");
    assert_eq!(read(&report.to_string()).unwrap().format, Format::Sterna);
    report["schema_version"] = json!("2.0");
    refused(&report.to_string(), "use a newer version");
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let error = read(text).unwrap_err();
    let source = error.source().map_or(String::new(), |it| format!(": {it}"));
    let message = format!("{error}{source}");
    assert!(message.contains("some file") && message.contains(expected), "{message}");
}

#[test]
fn what_is_broken_is_refused_with_the_reason() {
    refused(&COMPLETED[..COMPLETED.len() / 2], "not whole, or not JSON: EOF while parsing");
    refused(&GUESTPERF[0][..GUESTPERF[0].len() - 10], "not whole, or not JSON");
    refused(&COMPLETED.replace("sterna-report", "sterna-rapport"), "`schema` is `sterna-rapport`");
    refused(&COMPLETED.replace("89763952", "\"90 MB\""), "does not have the shape");
    refused(&GUESTPERF[1].replace("\"now\": 1", "\"now\": \"\", \"x\": 1"), "guestperf JSON, but");
    refused(
        &IPERF3.replace("\"intervals\": [", "\"intervals\": [], \"others\": ["),
        "looks like iperf3 JSON, but",
    );
    refused("<html>", "begins with \"<html>\"");
    refused(&"[".repeat(100_000), "begins with");
    refused(&format!("{{\"schema\": {}", "[".repeat(100_000)), "recursion limit");
    refused("1464690000,12\nhello\n", "no result that can be read");
    refused("\0\u{1}\u{2}", "begins with");
}

#[test]
fn any_part_of_a_file_is_an_error_and_no_panic() {
    for text in [COMPLETED, GUESTPERF[2], IPERF3, MM_DIRTY, SPIKES] {
        for end in (0..text.len()).step_by(37) {
            let _ = read_any_bytes(Path::new("part"), &text.as_bytes()[..end]);
        }
    }
}

#[test]
fn a_file_of_a_gigabyte_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.json");
    File::create(&path).unwrap().set_len(1 << 30).unwrap();
    let error = read_any(&path).unwrap_err();
    assert!(error.to_string().contains("larger than 256 MiB"), "{error}");
    assert!(matches!(read_any(folder.path()).unwrap_err(), AnyReadError::Io { .. }));
    assert!(read_any(&folder.path().join("missing")).unwrap_err().to_string().contains("missing"));
    fs::write(&path, COMPLETED).unwrap();
    assert_eq!(read_any(&path).unwrap().format, Format::Sterna);
}

#[test]
fn iperf3_is_a_stream_with_outages_and_no_migration() {
    let report = read(IPERF3).unwrap().report;
    assert_eq!(report.tool.version, "3.16");
    assert_eq!(report.summary.verdict, Verdict::Interrupted);
    assert_eq!(report.summary.wire_bytes, Some(380_000_000));
    assert_eq!(report.summary.downtime_seconds, None);
    // Intervals of a second say nothing about windows of 100 ms.
    assert_eq!(report.summary.bandwidth_max_bytes_per_second, None);
    assert_eq!(report.timeline.len(), 6);
    assert_eq!(report.timeline[5].transferred_bytes, Some(380_000_000));
    let outages = &report.probes[0].outages;
    assert_eq!(outages.len(), 1);
    assert_eq!((outages[0].start_seconds, outages[0].length_seconds), (1.0, 2.0));
    assert!(outages[0].has_ended);
    let warning = report.warnings.iter().find(|it| it.text.contains("weather")).unwrap();
    assert_eq!(warning.code, "not-mapped");
    let fine = IPERF3.replace("\"omitted\": false", "\"omitted\": true");
    assert_eq!(read(&fine).unwrap().report.timeline.len(), 0);
}

#[test]
fn mm_dirty_is_a_workload_whose_migration_nobody_saw() {
    let report = read(MM_DIRTY).unwrap().report;
    assert_eq!(
        report.scenario["workload"],
        json!({
            "memory": "2000MiB", "rate": "500MiB/s", "pattern": "random"
        })
    );
    let counts: Vec<u64> = report.guest.iter().map(|it| it.counts_per_worker[0]).collect();
    assert_eq!(counts, [128_000, 128_000, 38_400]);
    assert_eq!(report.guest[2].t_seconds, 3.5);
    assert_eq!(report.summary.verdict, Verdict::Interrupted);
    assert_eq!(report.summary.integrity, Integrity::Unchecked);
    assert_eq!(
        report.engine.details["latency_seconds_p50_p99_max_us"][2],
        json!([3.5, 1, 9, 40210])
    );
    assert_eq!(report.engine.details["latency_buckets_us_count"][3], json!([8, 1454]));
    let corrupt = format!("{MM_DIRTY}\nmon_mm_dirty: detected corrupted memory (1 != 2)!\n");
    assert_eq!(read(&corrupt).unwrap().report.summary.integrity, Integrity::Corrupt);
    let old = "dirty-rate: 100 (MB/s), time (ms): 1000, load: 20.00%\n";
    assert_eq!(read(old).unwrap().report.guest[0].counts_per_worker, [25_600]);
}

#[test]
fn a_spike_log_is_a_list_of_outages() {
    let report = read(SPIKES).unwrap().report;
    // `sterna probe --spikes` writes the sign.
    let ours = read(&SPIKES.replace("18446744073709551615", "-1")).unwrap().report;
    assert_eq!(ours.probes, report.probes);
    let outages = &report.probes[0].outages;
    let seen: Vec<(f64, f64)> =
        outages.iter().map(|it| (it.start_seconds, it.length_seconds)).collect();
    assert_eq!(seen, [(11.65, 0.35), (38.8, 1.2)]);
    assert_eq!(report.started_at, "2016-05-31T10:20:00Z");
}
