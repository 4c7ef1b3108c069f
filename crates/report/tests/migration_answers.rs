//! What QEMU, libvirt and virt-launcher say of a migration, as people paste it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::path::Path;

use serde_json::{Value, json};
use sterna_report::readers::{Format, Found, MigrationLog, read_any_bytes};
use sterna_report::{Report, Verdict, schema};

const ONE: &str = include_str!("data/query-migrate.json");
const LOG: &str = include_str!("data/query-migrate.log");
const NEWER: &str = include_str!("data/query-migrate-newer.json");
const HMP: &str = include_str!("data/info-migrate.txt");
const HMP_10_1: &str = include_str!("data/info-migrate-10.1.txt");
const JOB_INFO: &str = include_str!("data/domjobinfo.txt");
const LAUNCHER: &str = include_str!("data/virt-launcher.log");

fn read(text: &str) -> Found {
    read_any_bytes(Path::new("pasted"), text.as_bytes()).unwrap()
}

fn parts(text: &str) -> (Report, MigrationLog) {
    let found = read(text);
    (found.report, found.migration.unwrap())
}

/// Format, verdict, total time, claimed downtime, bytes, passes.
type Row = (Format, Verdict, Option<f64>, Option<f64>, Option<u64>, u64);

#[test]
fn every_source_becomes_a_report_with_what_is_there() {
    const GIB: f64 = 1_073_741_824.0;
    let table: [(&str, Row); 7] = [
        (
            ONE,
            (
                Format::QueryMigrate,
                Verdict::Completed,
                Some(7.25),
                Some(0.084),
                Some(1_300_000_000),
                5,
            ),
        ),
        (LOG, (Format::QueryMigrate, Verdict::Failed, Some(4.0), None, Some(440_000_000), 1)),
        (NEWER, (Format::QueryMigrate, Verdict::Interrupted, None, None, Some(123_456), 1)),
        (
            HMP,
            (
                Format::InfoMigrate,
                Verdict::Completed,
                Some(3.1),
                Some(0.077),
                Some(700_000 * 1024),
                4,
            ),
        ),
        (
            HMP_10_1,
            (Format::InfoMigrate, Verdict::Failed, Some(9.05), None, Some((2.5 * GIB) as u64), 3),
        ),
        (
            JOB_INFO,
            (
                Format::JobInfo,
                Verdict::Completed,
                Some(6.2),
                Some(0.095),
                Some((1.05 * GIB) as u64),
                4,
            ),
        ),
        (LAUNCHER, (Format::LauncherLog, Verdict::Interrupted, None, None, Some(1700 << 20), 1)),
    ];
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for (text, expected) in table {
        let Found { format, report, .. } = read(text);
        let it = &report.summary;
        let seen = (
            format,
            it.verdict,
            it.total_time_seconds,
            it.downtime_claimed_seconds,
            it.wire_bytes,
            it.passes,
        );
        assert_eq!(seen, expected, "{text}");
        assert_eq!(it.downtime_seconds, None, "nobody measured it");
        let json: Value = serde_json::from_str(&report.to_json_pretty()).unwrap();
        let errors: Vec<String> = validator.iter_errors(&json).map(|it| it.to_string()).collect();
        assert_eq!(errors, [""; 0], "{format:?}");
    }
}

#[test]
fn a_log_of_a_monitor_has_a_time_line_parameters_and_the_reason() {
    let (report, log) = parts(LOG);
    assert_eq!(report.started_at, "2026-03-01T12:00:01Z");
    let times: Vec<f64> = report.timeline.iter().map(|it| it.t_seconds).collect();
    assert_eq!(times, [1.0, 3.0, 4.0]);
    let second = &report.timeline[1];
    assert_eq!((second.pass, second.throttle_percent), (Some(2), Some(20.0)));
    assert_eq!(second.dirty_rate_bytes_per_second, Some(30_000.0 * 4096.0));
    assert_eq!(second.bandwidth_bytes_per_second, Some(901.5e6 / 8.0));
    assert_eq!(second.expected_downtime_seconds, Some(5.2));
    let kinds: Vec<&str> = report.events.iter().map(|it| it.kind.as_str()).collect();
    assert_eq!(kinds, ["setup", "active", "failed"]);
    let reason = report.summary.verdict_reason.unwrap();
    assert_eq!(reason, "Unable to write to socket: Connection reset by peer");
    assert_eq!(log.parameters.downtime_limit_seconds, Some(0.45));
    assert_eq!(log.capabilities.get("multifd"), Some(&true));
    let expected = json!({"downtime-limit": "450ms", "max-bandwidth": "112500000B/s",
        "multifd": {"channels": 4}});
    assert_eq!(report.scenario["migration"], expected);
}

#[test]
fn statuses_and_members_that_are_not_known_are_kept() {
    let (report, log) = parts(NEWER);
    assert_eq!(log.last_status(), Some("postcopy-paused-soon"));
    let reason = report.summary.verdict_reason.as_deref().unwrap();
    assert_eq!(reason, "The last status in the file is `postcopy-paused-soon`");
    let query = &log.answers[0].query;
    // A value that is no number is unknown, and the rest is read.
    assert_eq!((query.duplicate_pages, query.normal_pages), (None, Some(30)));
    let expected = json!({"colour": "green", "postcopy-latency": 31, "rdma-state.queued": 3,
        "ram.pages-of-later.cold": 7});
    assert_eq!(json!(query.other), expected);
    assert_eq!(report.engine.details["other"], expected);
    let warning = report.warnings.iter().find(|it| it.code == "not-mapped").unwrap();
    assert!(warning.text.contains("ram.pages-of-later.cold"), "{}", warning.text);
}

#[test]
fn both_forms_of_hmp_say_the_same_things() {
    let (report, log) = parts(HMP);
    assert_eq!(log.answers.len(), 2);
    assert_eq!(report.timeline[0].remaining_bytes, Some(1024 * 1024));
    assert_eq!(report.timeline[0].expected_downtime_seconds, Some(0.64));
    assert_eq!(report.scenario["migration"]["downtime-limit"], "300ms");
    assert_eq!(report.summary.pages_sent, Some(173_000));
    let (report, log) = parts(HMP_10_1);
    let query = &log.answers[0].query;
    assert_eq!(query.error.as_deref(), Some("Channel error: Connection reset by peer"));
    assert_eq!((query.normal_pages, query.duplicate_pages), (Some(640_000), Some(1_200_000)));
    assert_eq!(query.dirty_pages_per_second, Some(75_000.0));
    assert_eq!(query.remaining_bytes, Some(512 << 20));
    assert_eq!(query.other["Others moods"], "3");
    assert_eq!(report.summary.setup_seconds, Some(0.011));
}

#[test]
fn rates_of_virt_launcher_come_from_amounts() {
    let (report, log) = parts(LAUNCHER);
    let rates: Vec<Option<f64>> =
        report.timeline.iter().map(|it| it.bandwidth_bytes_per_second).collect();
    assert_eq!(rates, [Some(200.0 * 1_048_576.0), Some(225.0 * 1_048_576.0)]);
    assert_eq!(report.timeline[1].dirty_rate_bytes_per_second, None, "its unit is not known");
    assert_eq!(log.answers[1].query.other["NewPair"], "7");
    assert_eq!(report.started_at, "2026-03-01T12:00:00.1Z");
}

#[test]
fn what_only_looks_like_an_answer_is_none() {
    for text in [
        r#"{"return": {"status": "running", "running": true}}"#,
        r#"{"status": "ok", "message": "hello"}"#,
        r#"{"return": {}}"#,
        "Job type:         None\n",
        "Status: fine\n",
    ] {
        assert!(read_any_bytes(Path::new("f"), text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn a_downtime_of_less_than_nothing_is_unknown() {
    let (report, _) = parts(&ONE.replace("\"downtime\": 84", "\"downtime\": -1"));
    assert_eq!(report.summary.downtime_claimed_seconds, None);
    let (report, _) = parts(&HMP.replace("downtime: 77 ms", "downtime: -1 ms"));
    assert_eq!(report.summary.downtime_claimed_seconds, None);
}

#[test]
fn any_part_of_a_file_does_not_panic() {
    for text in [ONE, LOG, NEWER, HMP, HMP_10_1, JOB_INFO, LAUNCHER] {
        for end in (0..text.len()).step_by(31) {
            let _ = read_any_bytes(Path::new("part"), &text.as_bytes()[..end]);
        }
    }
}
