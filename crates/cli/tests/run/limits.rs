//! Guests that do not converge, and what the scenario says to do about it.

use crate::harness::Run;

/// Dirties faster than the limit lets pass.
const HARD: [&str; 8] = [
    "--rate",
    "unlimited",
    "--max-bandwidth",
    "10MB/s",
    "--downtime-limit",
    "20ms",
    "--max-time",
    "1500ms",
];

#[test]
fn a_guest_that_does_not_converge_is_cancelled_and_unharmed() {
    let outcome = Run::small(&HARD).outcome();
    outcome.assert_ended(3, "cancelled", "verified");
    outcome.assert_reason_has("limits.max-time");
    assert!(outcome.summary("total_time_seconds").as_f64().unwrap() >= 1.5);
    assert!(outcome.summary("convergence_pass").is_null());
}

#[test]
fn a_pass_limit_counts_completed_passes() {
    let outcome =
        Run::small(&[&HARD[..6], &["--max-passes", "2", "--max-time", "30s"]].concat()).outcome();
    outcome.assert_ended(3, "cancelled", "verified");
    outcome.assert_reason_has("limits.max-passes");
    assert!(outcome.summary("passes").as_u64().unwrap() >= 2);
}

#[test]
fn a_limit_may_pause_the_guest_and_finish() {
    let outcome = Run::small(&[&HARD[..], &["--limits-then", "pause"]].concat()).outcome();
    outcome.assert_ended(0, "completed-forced", "verified");
    assert!(outcome.summary("convergence_pass").is_null());
}

#[test]
fn the_scenario_may_pause_the_guest() {
    let outcome =
        Run::small(&[&HARD[..6], &["--max-time", "30s", "--pause-after", "500ms"]].concat())
            .outcome();
    outcome.assert_ended(0, "completed-forced", "verified");
    outcome.assert_reason_has("migration.pause");
}

#[test]
fn a_downtime_that_is_stretched_lets_a_hard_guest_complete() {
    let outcome = Run::small(&[
        "--rate",
        "unlimited",
        "--max-bandwidth",
        "20MB/s",
        "--downtime-from",
        "10ms",
        "--downtime-to",
        "2s",
        "--downtime-steps",
        "3",
        "--downtime-every",
        "500ms",
        "--max-time",
        "30s",
    ])
    .outcome();
    outcome.assert_ended(0, "completed", "verified");
    let events = outcome.report()["events"].as_array().unwrap().clone();
    assert!(events.iter().any(|event| event["kind"] == "downtime-limit"), "{events:?}");
}
