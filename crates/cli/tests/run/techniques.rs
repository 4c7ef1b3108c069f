//! Each technique completes what would not complete without it, with its memory verified and evidence that it was at work.

use serde_json::Value;

use crate::harness::{Outcome, Run};

/// Writes all of its memory faster than can be sent, but not so fast that nothing helps.
const FAST: [&str; 14] = [
    "--memory",
    "32MiB",
    "--workload-memory",
    "100%",
    "--rate",
    "200MiB/s",
    "--max-bandwidth",
    "30MB/s",
    "--downtime-limit",
    "100ms",
    "--warmup",
    "500ms",
    "--cooldown",
    "1s",
];

/// Writes a little of each page again and again.
const DIFFERENCES: [&str; 7] =
    ["--xbzrle", "--method", "counter", "--max-bandwidth", "20MB/s", "--downtime-limit", "50ms"];

fn fast(arguments: &[&str]) -> Outcome {
    Run::new(&[&FAST, arguments].concat()).outcome()
}

fn differences(arguments: &[&str]) -> Outcome {
    Run::small(&[&DIFFERENCES[..], &["--rate", "64MiB/s"], arguments].concat()).outcome()
}

#[track_caller]
fn detail<'a>(outcome: &'a Outcome, pointer: &str) -> &'a Value {
    let details = &outcome.report()["engine"]["details"];
    details.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {details}"))
}

#[track_caller]
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn without_a_technique_the_fast_guest_does_not_complete() {
    let outcome = fast(&["--max-time", "5s"]);
    outcome.assert_ended(3, "cancelled", "verified");
    assert!(outcome.report()["timeline"][0]["throttle_percent"].is_null());
}

#[test]
fn differences_are_sent_in_place_of_pages() {
    let outcome = differences(&["--max-time", "30s"]);
    outcome.assert_ended(0, "completed", "verified");
    let counter = |name: &str| number(detail(&outcome, &format!("/source_counters/xbzrle_{name}")));
    assert!(counter("pages") > 1000.0 && counter("cache_misses") > 0.0);
    assert!(counter("bytes") < counter("pages") * 100.0, "a counter's difference is short");
    assert!(counter("overflows") == 0.0);
    assert_eq!(detail(&outcome, "/source_counters/xbzrle_cache_bytes"), 8 << 20);
    assert!(number(outcome.summary("pages_resent")) > 0.0);
}

#[test]
fn pages_that_change_all_over_overflow_and_arrive() {
    let outcome = Run::small(&[
        "--xbzrle",
        "--xbzrle-cache",
        "50%",
        "--method",
        "fill-random",
        "--max-bandwidth",
        "30MB/s",
        "--rate",
        "20MiB/s",
        "--downtime-limit",
        "30ms",
        "--max-time",
        "3s",
        "--limits-then",
        "pause",
    ])
    .outcome();
    assert_eq!((outcome.code, outcome.summary("integrity")), (Some(0), &Value::from("verified")));
    let counter = |name: &str| number(detail(&outcome, &format!("/source_counters/xbzrle_{name}")));
    assert!(counter("overflows") > 0.0);
    assert!(counter("bytes") >= counter("overflows") * 4096.0);
}

#[test]
fn a_cache_that_is_too_small_misses_and_does_no_harm() {
    let outcome =
        differences(&["--xbzrle-cache", "64KiB", "--max-time", "3s", "--limits-then", "pause"]);
    assert_eq!((outcome.code, outcome.summary("integrity")), (Some(0), &Value::from("verified")));
    let counter = |name: &str| number(detail(&outcome, &format!("/source_counters/xbzrle_{name}")));
    assert!(counter("cache_misses") > counter("pages"));
}

#[test]
fn a_lost_difference_is_corruption() {
    let outcome = differences(&["--x-break", "source:lose-difference", "--max-time", "30s"]);
    outcome.assert_ended(4, "completed", "corrupt");
    assert_eq!(outcome.summary("integrity_detail")["corrupt_pages"], 1);
}

/// Completed passes after which a rule would have stopped the guest; the highest number if never.
fn stop_of(decision: &Value, rule: &str) -> u64 {
    decision[format!("{rule}_would_stop")]["after_passes"].as_u64().unwrap_or(u64::MAX)
}

#[test]
fn the_effective_rule_stops_before_the_other_where_pages_shrink() {
    // Whatever short time a pass takes, all that is hot is dirty again at its end.
    let unlimited = |more: &[&str]| {
        Run::small(&[&DIFFERENCES[..], &["--rate", "unlimited"], more].concat()).outcome()
    };
    let outcome = unlimited(&["--max-time", "30s"]);
    outcome.assert_ended(0, "completed", "verified");
    let decision = detail(&outcome, "/switchover_decision");
    assert_eq!(decision["rule"], "effective");
    assert!(stop_of(decision, "effective") < stop_of(decision, "qemu"), "{decision}");
    assert!(number(&decision["wire_bytes_per_raw_byte"]) < 0.7, "{decision}");

    // It does not complete, or by luck, when the guest was given no processor for a while.
    let outcome = unlimited(&["--switchover-decision", "qemu", "--max-time", "3s"]);
    assert_eq!(outcome.summary("integrity"), "verified");
    let decision = detail(&outcome, "/switchover_decision");
    assert_eq!(decision["rule"], "qemu");
    assert!(stop_of(decision, "effective") < stop_of(decision, "qemu"), "{decision}");
    let expected = number(&decision["effective_would_stop"]["expected_downtime_seconds"]);
    assert!(expected < 0.05, "{decision}");
    assert!(number(outcome.summary("passes")) > stop_of(decision, "effective") as f64);
}

#[test]
fn where_nothing_shrinks_both_rules_stop_at_the_same_time() {
    let outcome = Run::small(&["--max-bandwidth", "30MB/s", "--rate", "8MiB/s"]).outcome();
    outcome.assert_ended(0, "completed", "verified");
    let decision = detail(&outcome, "/switchover_decision");
    let (ours, theirs) = (&decision["effective_would_stop"], &decision["qemu_would_stop"]);
    assert_eq!(ours["after_passes"], theirs["after_passes"], "{decision}");
}

#[test]
fn auto_converge_slows_a_fast_guest_down_until_it_completes() {
    let outcome = fast(&["--auto-converge", "--auto-converge-initial", "95", "--max-time", "40s"]);
    outcome.assert_ended(0, "completed", "verified");
    assert!(number(detail(&outcome, "/source_counters/throttle_percent")) >= 95.0);
    let timeline = outcome.report()["timeline"].as_array().unwrap().clone();
    let told: Vec<f64> =
        timeline.iter().map(|poll| poll["throttle_percent"].as_f64().unwrap_or(0.0)).collect();
    // Two periods of more than a second must be bad before anybody is slowed down.
    let first = told.iter().position(|percent| *percent > 0.0).unwrap();
    assert!(number(&timeline[first]["t_seconds"]) > 2.0);
    assert!(told[..first].iter().all(|percent| *percent == 0.0));
}

/// Mean writes per second in the cool-down, as a share of the baseline.
fn speed_afterwards(outcome: &Outcome) -> f64 {
    let end = number(outcome.summary("total_time_seconds")) + 0.1;
    let samples = outcome.report()["guest"].as_array().unwrap();
    let after: Vec<f64> = samples
        .iter()
        .filter(|it| number(&it["t_seconds"]) - number(&it["interval_seconds"]) > end)
        .map(|it| number(&it["writes_per_second"]))
        .collect();
    assert!(after.len() > 3, "too few samples after {end} s");
    let mean = after.iter().sum::<f64>() / after.len() as f64;
    mean / number(outcome.summary("baseline_pages_per_second"))
}

#[test]
fn a_guest_that_was_slowed_down_runs_at_full_speed_after_a_cancel() {
    let cancelled = |more: &[&str]| {
        let few = ["--memory", "16MiB", "--max-bandwidth", "10MB/s", "--max-time", "5s"];
        let outcome = Run::new(
            &[
                &["--auto-converge", "--auto-converge-initial", "90", "--rate", "100MiB/s"],
                &["--workload-memory", "100%", "--downtime-limit", "10ms"][..],
                &["--warmup", "500ms", "--cooldown", "1s"],
                &few,
                more,
            ]
            .concat(),
        )
        .outcome();
        outcome.assert_ended(3, "cancelled", "verified");
        assert!(number(detail(&outcome, "/source_counters/throttle_percent")) >= 90.0);
        speed_afterwards(&outcome)
    };
    let speed = cancelled(&[]);
    // A tenth would be left to it; a busy machine may take half of what it had before.
    assert!(speed > 0.4, "{speed} of the baseline");
    let speed = cancelled(&["--x-break", "source:keep-throttle"]);
    assert!(speed < 0.3, "{speed} of the baseline although nobody let go");
}

#[test]
fn a_dirty_limit_holds_the_workers_that_exceed_it() {
    let outcome = fast(&["--dirty-limit-per-vcpu", "5MB/s", "--max-time", "40s"]);
    outcome.assert_ended(0, "completed", "verified");
    let workers = detail(&outcome, "/dirty_limit_workers").as_array().unwrap().clone();
    assert_eq!(workers.len(), 2);
    for worker in &workers {
        assert!(number(&worker["throttle_percent"]) > 30.0, "{worker}");
        assert!(number(&worker["dirty_rate_bytes_per_second"]) < 15e6, "{worker}");
    }
}

#[test]
fn a_hold_ends_when_memory_was_sent_written_and_sent_again() {
    let outcome =
        Run::small(&["--hold-at-least-passes", "4", "--rate", "8MiB/s", "--max-time", "30s"])
            .outcome();
    outcome.assert_ended(0, "completed", "verified");
    assert!(number(outcome.summary("passes")) >= 4.0);
    assert!(number(outcome.summary("pages_resent")) > 0.0);
    let hold = detail(&outcome, "/hold");
    assert_eq!((&hold["proven"], &hold["released"]), (&true.into(), &true.into()));
    let (sent, now) =
        (number(&hold["marker_beat_on_destination"]), number(&hold["marker_beat_on_source_later"]));
    assert!(now > sent, "{hold}");
}

#[test]
fn a_guest_that_writes_nothing_proves_nothing() {
    let outcome = Run::small(&["--hold", "--rate", "idle", "--max-time", "2s"]).outcome();
    outcome.assert_ended(3, "cancelled", "verified");
    let hold = detail(&outcome, "/hold");
    assert_eq!((&hold["proven"], &hold["released"]), (&false.into(), &false.into()));
    assert!(outcome.report()["warnings"].to_string().contains("hold-unproven"));
}

#[test]
fn a_hold_without_traces_to_count_by_is_refused() {
    let outcome = Run::small(&["--hold", "--method", "zero"]).outcome();
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has("migration.hold");
}
