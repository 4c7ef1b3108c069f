//! A guest that moves several times, and one that is paused while it moves.

use serde_json::Value;

use crate::harness::{Outcome, Run};

fn there_and_back(arguments: &[&str]) -> Outcome {
    Run::small(&[&["--hops", "2", "--rate", "40MB/s"], arguments].concat()).outcome()
}

fn hops(outcome: &Outcome) -> Vec<&Value> {
    outcome.report()["hops"].as_array().unwrap().iter().map(|it| &it["report"]).collect()
}

fn total(report: &Value) -> f64 {
    report["summary"]["total_time_seconds"].as_f64().unwrap()
}

#[test]
fn each_hop_is_a_whole_report_and_the_summary_is_of_all() {
    let outcome = there_and_back(&["--max-bandwidth", "500Mbit/s"]);
    outcome.assert_ended(0, "completed", "verified");
    let hops = hops(&outcome);
    assert_eq!(hops.len(), 2);
    let mut sums = [0.0; 3];
    for hop in &hops {
        let summary = &hop["summary"];
        assert_eq!(
            (&summary["verdict"], &summary["integrity"]),
            (&"completed".into(), &"verified".into())
        );
        assert!(!hop["passes"].as_array().unwrap().is_empty());
        assert!(!hop["guest"].as_array().unwrap().is_empty());
        // A guest that was carried on has a baseline again.
        assert!(summary["baseline_pages_per_second"].as_f64().unwrap() > 5_000.0, "{summary}");
        for (sum, field) in sums.iter_mut().zip(["total_time_seconds", "wire_bytes", "passes"]) {
            *sum += summary[field].as_f64().unwrap();
        }
    }
    for (sum, field) in sums.iter().zip(["total_time_seconds", "wire_bytes", "passes"]) {
        let all = outcome.summary(field).as_f64().unwrap();
        assert!((all - sum).abs() < 1e-6 * sum, "{field}: {all}, and {sum} by the hops");
    }
    let started = outcome.report()["hops"][1]["started_seconds"].as_f64().unwrap();
    assert!(started > total(hops[0]), "{started}");
    assert!(outcome.stdout.starts_with("2 of 2 hops, the last completed: memory verified"));
    assert!(outcome.stdout.contains("there") && outcome.stdout.contains("back"));
}

#[test]
fn a_report_of_hops_is_diagnosed_and_is_evidence() {
    let run = Run::small(&["--hops", "2", "--rate", "40MB/s", "--max-bandwidth", "500Mbit/s"]);
    let running = run.start();
    let report = running.directory().join("report.json");
    let sterna = |command: &str| {
        let mut it = std::process::Command::new(env!("CARGO_BIN_EXE_sterna"));
        let output = it.arg(command).arg(&report).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !report.exists() {
        assert!(std::time::Instant::now() < deadline, "there is no report");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(sterna("diagnose").starts_with("Hop 2: The migration completed"));
    let predicted = sterna("predict");
    assert!(predicted.contains("plain pre-copy"), "{predicted}");
    running.outcome().assert_ended(0, "completed", "verified");
}

#[test]
fn writes_go_on_being_counted_where_the_hop_before_left_off() {
    let outcome = there_and_back(&[]);
    outcome.assert_ended(0, "completed", "verified");
    let written = |hop: &Value| -> f64 {
        let samples = hop["guest"].as_array().unwrap().iter();
        let counts = samples.flat_map(|it| it["counts_per_worker"].as_array().unwrap());
        counts.map(|it| it.as_f64().unwrap()).sum()
    };
    // 40 MB/s are 9,766 pages a second, less on a busy machine; each hop is seen for more than half a second.
    for hop in hops(&outcome) {
        let pages = written(hop);
        assert!((500.0..60_000.0).contains(&pages), "{pages} pages in one hop");
    }
}

#[test]
fn each_technique_goes_there_and_back() {
    for technique in [
        &["--postcopy-after-passes", "1"][..],
        &["--multifd-channels", "2"],
        &["--xbzrle", "--transport", "unix"],
        &["--tls-mode", "x509"],
        &["--hold"],
        &["--tracker", "cooperative"],
    ] {
        let outcome = there_and_back(technique);
        outcome.assert_ended(0, "completed", "verified");
        assert_eq!(hops(&outcome).len(), 2, "{technique:?}");
    }
}

#[test]
fn a_hop_that_loses_a_page_is_corrupt_and_the_last() {
    let outcome = there_and_back(&["--rate", "unlimited", "--x-break", "source:lose-page"]);
    outcome.assert_ended(4, "completed", "corrupt");
    assert_eq!(hops(&outcome).len(), 1);
    let reason = outcome.summary("verdict_reason").as_str().unwrap();
    assert!(reason.to_lowercase().contains("hop 1 of 2"), "{reason}");
}

#[test]
fn a_hop_that_is_cancelled_or_lost_is_the_last_and_named() {
    let never = ["--rate", "unlimited", "--max-bandwidth", "40MB/s", "--downtime-limit", "1ms"];
    let outcome =
        there_and_back(&[&never[..], &["--max-time", "1s", "--limits-then", "cancel"]].concat());
    outcome.assert_ended(3, "cancelled", "verified");
    assert_eq!(hops(&outcome).len(), 1);
    let outcome = there_and_back(&["--faults", "at-pass=1,side=source,action=kill"]);
    outcome.assert_ended(3, "lost", "unchecked");
    let reason = outcome.summary("verdict_reason").as_str().unwrap();
    assert!(reason.starts_with("Hop 1 of 2: "), "{reason}");
}

#[test]
fn a_paused_guest_arrives_paused_without_a_downtime_and_goes_on() {
    for technique in [&[][..], &["--postcopy-after-passes", "0"], &["--multifd-channels", "2"]] {
        let outcome =
            Run::small(&[&["--paused", "--rate", "40MB/s"], technique].concat()).outcome();
        outcome.assert_ended(0, "completed", "verified");
        for field in ["downtime_seconds", "blackout_seconds", "lost_work_seconds"] {
            assert_eq!(outcome.summary(field), &Value::Null, "{field}");
        }
        // Nothing was written meanwhile, so nothing was sent twice.
        assert_eq!(outcome.summary("pages_resent"), 0);
        let samples = outcome.report()["guest"].as_array().unwrap();
        let after = samples.iter().filter(|it| it["side"] == "destination");
        let pages: f64 = after.map(|it| it["writes_per_second"].as_f64().unwrap()).sum();
        assert!(pages > 0.0, "the guest does not go on");
        assert!(outcome.stdout.contains("downtime none (the guest was paused)"));
    }
}

#[test]
fn a_paused_guest_whose_migration_is_cancelled_goes_on_at_the_source() {
    let slow =
        ["--paused", "--max-bandwidth", "20Mbit/s", "--max-time", "1s", "--limits-then", "cancel"];
    let outcome = Run::small(&slow).outcome();
    outcome.assert_ended(3, "cancelled", "verified");
    let events = outcome.report()["events"].as_array().unwrap();
    let resumed = events.iter().find(|it| it["kind"] == "guest-resumed").unwrap();
    assert!(resumed["text"].as_str().unwrap().contains("source"), "{resumed}");
}

#[test]
fn what_cannot_be_said_together_is_refused_by_field() {
    let check = |arguments: &[&str], code: i32, expected: &str| {
        let outcome = Run::small(arguments).outcome();
        assert_eq!(outcome.code, Some(code), "{}", outcome.stderr);
        let words = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(words.contains(expected), "no {expected:?} in {words}");
    };
    check(&["--hops", "0"], 2, "it must be from 1 to 16");
    check(&["--hops", "2", "--paused"], 2, "guest.paused");
    check(&["--hops", "2", "--fleet-guests", "2"], 2, "migration.hops");
    check(&["--hops", "2", "--engine", "model"], 5, "migration.hops");
    check(&["--paused", "--engine", "model"], 5, "guest.paused");
    check(&["--paused", "--hold"], 5, "guest.paused");
}
