//! One file of each generation, made by hand from the documented fields.

use serde_json::{Value, json};

use super::read;
use crate::{Report, Side, Verdict};

const OF_2016: &str = include_str!("../../../tests/data/guestperf-2016.json");
const OF_7_2: &str = include_str!("../../../tests/data/guestperf-7.2.json");
const OF_10_0: &str = include_str!("../../../tests/data/guestperf-10.0.json");

fn report(text: &str) -> Report {
    read(serde_json::from_str(text).unwrap()).unwrap()
}

fn changed(text: &str, pointer: &str, value: Value) -> Report {
    let mut file: Value = serde_json::from_str(text).unwrap();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    file.pointer_mut(parent).unwrap()[name] = value;
    report(&file.to_string())
}

fn unmapped(report: &Report) -> Vec<&str> {
    let warnings = report.warnings.iter().filter(|it| it.code == "not-mapped");
    warnings.map(|it| it.text.as_str()).collect()
}

#[test]
fn post_copy_of_2016() {
    let report = report(OF_2016);
    assert_eq!(report.started_at, "2016-05-31T10:20:00.01Z");
    let scenario = Value::Object(report.scenario.clone());
    assert_eq!(
        scenario,
        json!({
            "name": "post-copy-iters-5",
            "guest": {"vcpus": 1, "memory": "1536MiB", "prealloc": false, "locked": false},
            "workload": {"memory": "1GiB", "workers": 1, "pattern": "sequential",
                         "method": "xor-random", "rate": "unlimited"},
            "migration": {"max-bandwidth": "125MiB/s", "downtime-limit": "500ms",
                          "postcopy": {"after-passes": 4}},
            "limits": {"max-time": "300s", "max-passes": 30},
        })
    );
    let summary = &report.summary;
    assert_eq!((summary.verdict, summary.passes), (Verdict::Completed, 5));
    assert_eq!(summary.total_time_seconds, Some(8.0));
    assert_eq!((summary.downtime_claimed_seconds, summary.downtime_seconds), (Some(0.004), None));
    assert_eq!(summary.wire_bytes, Some(2_000_000_000));
    assert_eq!(report.timeline[2].bandwidth_bytes_per_second.unwrap().round(), 131_075_000.0);
    assert_eq!(report.timeline[0].transferred_bytes, None, "nothing was told in the setup");
    let second = &report.passes[1];
    assert_eq!((second.number, second.started_seconds), (2, 2.5));
    assert_eq!((second.pages_sent, second.wire_bytes), (Some(68_000), Some(280_000_000)));
    assert!((second.length_seconds.unwrap() - 2.2).abs() < 1e-9);
    let cut = &report.passes[3];
    assert_eq!((cut.number, cut.pages_sent), (4, None), "it holds what was sent at the stop");
    let kinds: Vec<&str> = report.events.iter().map(|it| it.kind.as_str()).collect();
    assert_eq!(kinds, ["setup", "active", "postcopy-active", "completed"]);
    assert_eq!(unmapped(&report), [""; 0]);
}

#[test]
fn the_guest_slows_down_and_comes_back() {
    let report = report(OF_2016);
    // A GiB in 0.4 s is 655,360 pages a second; during three lines it took three times as long.
    let baseline = report.summary.baseline_pages_per_second.unwrap();
    assert!((baseline - 655_360.0).abs() < 3_000.0, "{baseline}");
    let slow = report.guest.iter().find(|it| it.t_seconds == 2.0).unwrap();
    assert!((slow.writes_per_second - 218_453.0).abs() < 2.0, "{slow:?}");
    let lost = report.summary.lost_work_seconds.unwrap();
    // Three GiB took 3.6 s instead of 1.2 s.
    assert!((lost - 2.4).abs() < 0.1, "{lost}");
    assert_eq!(report.guest.last().unwrap().side, Side::Destination);
    let cpu = &report.summary.cpu.source;
    let cores: Vec<(&str, f64)> =
        cpu.iter().map(|it| (it.class.as_str(), it.cores_mean.unwrap())).collect();
    assert_eq!(cores.len(), 2);
    assert!((cores[1].1 - 1.0).abs() < 0.01 && (cores[0].1 - 0.2).abs() < 0.01, "{cores:?}");
}

#[test]
fn multifd_of_7_2_and_a_cancelled_run_of_10_0() {
    let multifd = report(OF_7_2);
    assert_eq!(multifd.scenario["migration"]["multifd"], json!({"channels": 8}));
    assert_eq!(multifd.summary.downtime_claimed_seconds, Some(0.21));
    assert_eq!(multifd.guest[0].counts_per_worker.len(), 2);

    let cancelled = report(OF_10_0);
    let summary = &cancelled.summary;
    assert_eq!((summary.verdict, summary.passes), (Verdict::Cancelled, 3));
    assert_eq!(summary.wire_bytes, Some(900_000_000), "the last that was told");
    assert!((summary.total_time_seconds.unwrap() - 7.19).abs() < 1e-3);
    assert_eq!(cancelled.timeline[3].throttle_percent, Some(30.0));
    assert_eq!(cancelled.engine.details["dirty_ring_size"], 4096);
    assert!(!cancelled.engine.details.contains_key("dirty_limit_ring_full_time_us"));
}

#[test]
fn what_has_no_place_is_named() {
    let report = changed(OF_7_2, "/scenario/moon_phase", json!("full"));
    assert!(unmapped(&report)[0].ends_with("left out: scenario.moon_phase"), "{report:?}");
    let report = changed(OF_7_2, "/hardware/huge_pages", json!("yes"));
    assert!(unmapped(&report)[0].ends_with("left out: hardware.huge_pages"));
}

#[test]
fn a_pause_is_a_forced_end_and_a_failure_in_post_copy_is_a_loss() {
    let paused = changed(OF_7_2, "/scenario/pause", json!(true));
    assert_eq!(paused.summary.verdict, Verdict::CompletedForced);
    assert_eq!(paused.scenario["migration"]["pause"], json!({"after-passes": 4}));
    let lost = changed(OF_2016, "/progress_history/6/status", json!("failed"));
    assert_eq!(lost.summary.verdict, Verdict::Lost);
    let failed = changed(OF_7_2, "/progress_history/2/status", json!("failed"));
    assert_eq!(failed.summary.verdict, Verdict::Failed);
    let odd = changed(OF_7_2, "/progress_history/2/status", json!("colo"));
    assert_eq!(odd.summary.verdict, Verdict::Interrupted);
}

#[test]
fn a_file_without_answers_is_refused() {
    #[track_caller]
    fn check(pointer: &str, value: Value, expected: &str) {
        let mut file: Value = serde_json::from_str(OF_7_2).unwrap();
        *file.pointer_mut(pointer).unwrap() = value;
        let error = read(file).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    check("/progress_history", json!([]), "`progress_history` is empty");
    check("/progress_history", json!([{"status": 7}]), "`progress_history` is empty");
    check("/hardware", json!("many"), "invalid type: string");
}

#[test]
fn one_odd_value_is_unknown_and_the_rest_is_read() {
    let good = report(OF_7_2);
    let odd = changed(OF_7_2, "/hardware/mem", json!("1GiB"));
    assert_eq!(odd.scenario["guest"].get("memory"), None);
    assert_eq!((odd.summary.amplification, odd.summary.passes), (None, good.summary.passes));
    let odd = changed(OF_7_2, "/progress_history/0/ram/normal_pages", json!(-1));
    assert_eq!(odd.timeline, good.timeline);
    let odd = changed(OF_7_2, "/scenario/pause", json!("yes"));
    assert_eq!(odd.summary.verdict, good.summary.verdict);
    assert_eq!(changed(OF_7_2, "/guest_timings", Value::Null).guest, []);
    let last = good.timeline.len() - 1;
    let path = format!("/progress_history/{last}/downtime");
    assert_eq!(changed(OF_7_2, &path, json!(-1)).summary.downtime_claimed_seconds, None);
}
