//! Runs that complete, and what their reports claim.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Run, unprivileged};

#[test]
fn the_default_run_makes_passes_completes_verifies_and_reports() {
    let began = Instant::now();
    let outcome = Run::new(&[]).outcome();
    outcome.assert_ended(0, "completed", "verified");
    assert!(began.elapsed() < Duration::from_secs(60));
    assert!(outcome.summary("pages_resent").as_u64().unwrap() > 0);
    assert!(outcome.summary("passes").as_u64().unwrap() >= 2);
    assert!(outcome.stdout.starts_with("Completed: memory verified"), "{}", outcome.stdout);
    assert!(outcome.stderr.is_empty(), "{}", outcome.stderr);

    let report = outcome.report();
    let schema = sterna_report::schema();
    jsonschema::validate(&schema, report).unwrap();
    let checked = &report["summary"]["integrity_detail"]["pages_checked"];
    assert_eq!(checked, &Value::from(65536));
    for series in ["passes", "timeline", "guest", "cpu", "events", "clocks"] {
        assert!(!report[series].as_array().unwrap().is_empty(), "{series} is empty");
    }
}

#[test]
fn an_unprivileged_user_can_run_it_with_kernel_tracking() {
    let arguments = ["--memory", "32MiB", "--warmup", "100ms", "--cooldown", "100ms"];
    let Some(outcome) = unprivileged(&arguments) else { return };
    outcome.assert_ended(0, "completed", "verified");
    let here = sterna_sys::tracking::probe().map(|it| it.wp_async);
    if here.is_ok_and(|wp_async| wp_async) {
        assert_eq!(outcome.report()["engine"]["tracker"], "wp-async");
    }
}

#[test]
fn every_tracker_transport_and_pattern_verifies() {
    for tracker in ["auto", "cooperative"] {
        for transport in ["tcp", "unix"] {
            for pattern in ["sequential", "random"] {
                let outcome = Run::small(&[
                    "--tracker",
                    tracker,
                    "--transport",
                    transport,
                    "--pattern",
                    pattern,
                    "--rate",
                    "unlimited",
                    "--ballast",
                    "4MiB",
                    "--max-time",
                    "20s",
                    "--limits-then",
                    "pause",
                ])
                .outcome();
                assert_eq!(outcome.code, Some(0), "{}", outcome.stdout);
                assert_eq!(
                    outcome.summary("integrity"),
                    "verified",
                    "{tracker} {transport} {pattern}"
                );
            }
        }
    }
}

#[test]
fn every_pattern_and_method_of_the_workload_survives_a_migration() {
    let table = [
        ("sequential", "touch"),
        ("random", "write64"),
        ("zipf(0.99)", "write64nt"),
        ("hot-set(10%,90%)", "write1024"),
        ("stride(7)", "zero"),
        ("once", "fill-random"),
        ("random", "xor-random"),
        ("sequential", "compressible(3)"),
        ("zipf(1.2)", "counter"),
    ];
    for (pattern, method) in table {
        let outcome = Run::small(&["--pattern", pattern, "--method", method]).outcome();
        outcome.assert_ended(0, "completed", "verified");
        let workload = &outcome.report()["scenario"]["workload"];
        assert_eq!((&workload["pattern"], &workload["method"]), (&pattern.into(), &method.into()));
    }
}

#[test]
fn the_cooperative_tracker_says_on_the_verdict_line_that_its_cost_is_not_real() {
    let outcome = Run::small(&["--tracker", "cooperative"]).env("COLUMNS", "200").outcome();
    outcome.assert_ended(0, "completed", "verified");
    let verdict = outcome.stdout.lines().next().unwrap();
    assert!(verdict.contains("cost of tracking is not real"), "{verdict}");
    assert_eq!(outcome.report()["warnings"][0]["code"], "tracking-cost");
}

#[test]
fn the_emulated_link_delays_and_slows() {
    let outcome = Run::small(&[
        "--link-latency",
        "40ms",
        "--link-bandwidth",
        "100Mbit/s",
        "--max-bandwidth",
        "unlimited",
        "--rate",
        "1MiB/s",
    ])
    .outcome();
    outcome.assert_ended(0, "completed", "verified");
    // READY cannot be heard before the last page has travelled there and the answer back.
    assert!(outcome.summary("downtime_seconds").as_f64().unwrap() >= 0.08);
    let mean = outcome.summary("bandwidth_mean_bytes_per_second").as_f64().unwrap();
    assert!(mean < 12.5e6 * 1.05, "{mean}");
}

#[test]
fn a_bandwidth_limit_is_kept_while_the_guest_runs() {
    let outcome =
        Run::small(&["--max-bandwidth", "20MB/s", "--rate", "4MiB/s", "--memory", "64MiB"])
            .outcome();
    outcome.assert_ended(0, "completed", "verified");
    let passes = outcome.report()["passes"].as_array().unwrap();
    let first = passes[0]["bandwidth_bytes_per_second"].as_f64().unwrap();
    // A busy machine may make it slower, never faster.
    assert!(first < 20e6 * 1.03, "{first}");
}
