//! Signals end a run in good order, ask for a summary, or stop the process for a while.

use std::io::{BufRead, BufReader};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Running, number, start};

const SMALL: [&str; 8] =
    ["--memory", "4MiB", "--rate", "10MiB/s", "--interval", "50ms", "--progress", "none"];

/// A run that has begun; its first event was read.
fn begun(arguments: &[&str]) -> (Running, BufReader<std::process::ChildStdout>) {
    let mut running = start(&[&SMALL, arguments, &["--json-stream"]].concat());
    let mut lines = BufReader::new(running.child().stdout.take().unwrap());
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    assert!(first.contains("\"event\":\"start\""), "{first}");
    (running, lines)
}

/// The data of all events of this name, to the end.
fn events(lines: BufReader<std::process::ChildStdout>, name: &str) -> Vec<serde_json::Value> {
    let events =
        lines.lines().map(|it| serde_json::from_str::<serde_json::Value>(&it.unwrap()).unwrap());
    events.filter(|it| it["event"] == name).map(|it| it["data"].clone()).collect()
}

#[test]
fn a_signal_is_the_end_that_was_expected_without_a_duration() {
    for signal in [Signal::INT, Signal::TERM] {
        let (mut running, lines) = begun(&[]);
        sleep(Duration::from_millis(120));
        running.signal(signal);
        let reports = events(lines, "report");
        assert_eq!(running.outcome().code, Some(0));
        assert_eq!(reports.len(), 1);
        assert_eq!(reports[0]["summary"]["ended_by"], "signal");
        assert!(number(&reports[0], "/summary/touched_pages") > 0.0);
    }
}

#[test]
fn a_signal_before_the_time_is_over_is_an_interruption() {
    let (mut running, lines) = begun(&["--duration", "60s"]);
    running.signal(Signal::INT);
    let reports = events(lines, "report");
    assert_eq!(running.outcome().code, Some(130));
    assert_eq!(reports[0]["summary"]["ended_by"], "interrupted");
}

#[test]
fn a_summary_can_be_had_in_between() {
    let (mut running, lines) = begun(&["--duration", "400ms"]);
    sleep(Duration::from_millis(100));
    running.signal(Signal::USR2);
    let summaries = events(lines, "summary");
    assert_eq!(running.outcome().code, Some(0));
    assert_eq!(summaries.len(), 1);
    assert!(summaries[0]["ended_by"].is_null());
    assert!(number(&summaries[0], "/duration_seconds") < 0.4);
}

#[test]
fn a_stopped_process_is_a_gap_and_its_pages_are_not_made_up_for() {
    let (mut running, lines) = begun(&["--duration", "900ms"]);
    sleep(Duration::from_millis(200));
    running.signal(Signal::STOP);
    sleep(Duration::from_millis(300));
    running.signal(Signal::CONT);
    let report = events(lines, "report").pop().unwrap();
    assert_eq!(running.outcome().code, Some(0));
    let longest = number(&report, "/summary/longest_gap_ns");
    assert!((0.29e9..0.6e9).contains(&longest), "{longest}");
    let length = number(&report, "/gaps/0/length_ns");
    assert_eq!(length, longest);
    // 0.6 s of work in 0.9 s.
    let rate = number(&report, "/summary/touch_rate_bytes_per_second") / (10 << 20) as f64;
    assert!((0.4..0.8).contains(&rate), "{rate}");
    assert_eq!(report["summary"]["rate_reached"], false);
}

#[test]
fn stops_are_in_the_time_since_due_and_not_in_the_service_time() {
    let (mut running, lines) = begun(&["--latency"]);
    for _ in 0..4 {
        sleep(Duration::from_millis(60));
        running.signal(Signal::STOP);
        sleep(Duration::from_millis(100));
        running.signal(Signal::CONT);
    }
    sleep(Duration::from_millis(60));
    running.signal(Signal::INT);
    let reports = events(lines, "report");
    assert_eq!(running.outcome().code, Some(0));
    let summary = |name: &str| number(&reports[0], &format!("/summary/{name}"));
    assert!(summary("since_due/max_ns") >= 90e6, "{}", reports[0]["summary"]["since_due"]);
    // 2560 pages a second: some 256 in each stop, of which the schedule makes up for a tenth.
    let given_up = summary("since_due/count") - summary("latency/count");
    assert!(given_up > 600.0, "{given_up}");
    // A tenth of all that was due came later than 10 ms.
    assert!(summary("since_due/p90_ns") > 10e6, "{}", reports[0]["summary"]["since_due"]);
}
