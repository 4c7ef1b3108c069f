//! Bounds on the numbers of a run, and a downtime above its limit.

use std::process::Command;

use crate::harness::{Run, sterna};

/// Frozen for at least 400 ms: that long is waited before the workers run on the destination.
const FROZEN: [&str; 2] = ["--x-break", "destination:late-resume=400ms"];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_downtime_above_its_limit_is_marked_and_a_missed_threshold_is_exit_code_4() {
    let run = Run::small(
        &[
            &FROZEN[..],
            &["--fail-if", "downtime>300ms", "--fail-if", "passes<1", "--fail-if", "total-time>1h"],
        ]
        .concat(),
    );
    let kept = tempfile::tempdir().unwrap();
    let outcome = run.outcome();
    outcome.assert_ended(4, "completed", "verified");
    let report = outcome.report();
    let outcomes: Vec<&str> = report["thresholds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["missed", "kept", "kept"]);
    assert_eq!(report["thresholds"][0]["value"], report["summary"]["downtime_seconds"]);
    assert_eq!(report["summary"]["downtime_limit_seconds"], 0.3);
    let shown = outcome.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    let marks = "ABOVE its limit of 300 ms; THRESHOLD MISSED: downtime>300ms";
    assert!(shown.contains(marks), "{shown}");
    assert!(outcome.stdout.contains("[downtime-over-limit]"), "{}", outcome.stdout);

    let path = kept.path().join("report.json");
    std::fs::write(&path, report.to_string()).unwrap();
    let form = |form: &str| {
        let output = sterna(&["report", form, path.to_str().unwrap(), "-o", "-"]);
        assert_eq!(output.status.code(), Some(4), "{form}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let junit = form("junit");
    assert!(junit.contains("failures=\"1\"") && junit.contains("type=\"threshold\""), "{junit}");
    let page = form("html");
    assert!(page.contains("threshold missed") && page.contains("above the limit of 300 ms"));
    assert!(form("markdown").contains("Threshold missed: downtime is"));
}

#[test]
fn kept_thresholds_are_exit_code_0_and_a_scenario_can_hold_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("slo.toml");
    let slo =
        "[slo]\nfail-if = [\"downtime>100s\", \"blackout >= 100s\", \"bandwidth-mean<1B/s\"]\n";
    std::fs::write(&path, slo).unwrap();
    let outcome = Run::small(&[path.to_str().unwrap()]).outcome();
    outcome.assert_ended(0, "completed", "verified");
    assert_eq!(outcome.report()["thresholds"].as_array().unwrap().len(), 3);
    assert!(outcome.stdout.contains("Thresholds kept: downtime is"), "{}", outcome.stdout);
    // A flag overrides the list of the file.
    let printed = Command::new(env!("CARGO_BIN_EXE_sterna"))
        .args(["run", path.to_str().unwrap(), "--fail-if", "blackout>1s", "--print-scenario"])
        .output()
        .unwrap();
    assert!(
        text(&printed.stdout).contains("\nfail-if = \"blackout>1s\""),
        "{}",
        text(&printed.stdout)
    );
}

#[test]
fn an_unknown_number_is_exit_code_4_of_a_run_that_completed() {
    let outcome = Run::small(&["--warmup", "0s", "--fail-if", "lost-work>1h"]).outcome();
    outcome.assert_ended(4, "completed", "verified");
    assert_eq!(outcome.report()["thresholds"][0]["outcome"], "unknown");
    assert!(outcome.stdout.contains("lost-work is unknown"), "{}", outcome.stdout);
}

#[test]
fn bad_thresholds_and_a_downtime_limit_of_zero_are_usage_errors() {
    #[track_caller]
    fn check(arguments: &[&str], expected: &[&str]) {
        let output = sterna(&[&["run"], arguments].concat());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        for part in expected {
            assert!(stderr.contains(part), "`{part}` is not in: {stderr}");
        }
    }
    check(&["--fail-if", "downtme>300ms"], &["slo.fail-if", "downtme", "downtime"]);
    check(&["--fail-if", "downtime"], &["slo.fail-if", "downtime>300ms"]);
    check(&["--fail-if", "downtime>300"], &["slo.fail-if", "has no unit"]);
    check(&["--downtime-limit", "0ms"], &["migration.downtime-limit", "0s", "300ms", "pause"]);
    check(&["--downtime-from", "0s", "--downtime-to", "0s"], &["migration.downtime.to"]);
}
