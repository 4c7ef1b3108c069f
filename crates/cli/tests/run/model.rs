//! Runs that are computed instead of made.

use std::time::{Duration, Instant};

use super::harness::Run;

#[test]
fn a_guest_of_300_gib_is_computed_within_seconds_and_its_report_names_the_model() {
    let began = Instant::now();
    let arguments = [
        "--engine=model",
        "--memory=300GiB",
        "--ballast=60%",
        "--workload-memory=20%",
        "--rate=500MiB/s",
        "--max-bandwidth=10Gbit/s",
        "--max-time=1h",
        "--auto-converge",
    ];
    let outcome = Run::new(&arguments).outcome();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let report = outcome.report.unwrap();
    assert_eq!(report["engine"]["name"], "model");
    assert_eq!(report["summary"]["integrity"], "unchecked");
    // 240 GiB with content at 1.25 GB/s, and what is written meanwhile.
    let total = report["summary"]["total_time_seconds"].as_f64().unwrap();
    assert!((206.0..600.0).contains(&total), "{total}");
    assert!(report["passes"].as_array().unwrap().len() > 2);
    let assumptions = report["engine"]["details"]["assumptions"].as_array().unwrap();
    assert!(!assumptions.is_empty());
}

#[test]
fn a_flag_of_another_engine_and_a_fault_are_refused_for_the_model() {
    let misplaced = Run::new(&["--engine=model", "--tracker=cooperative"]).outcome();
    assert_eq!(misplaced.code, Some(2));
    assert!(misplaced.stderr.contains("--tracker is for the emulator"), "{}", misplaced.stderr);
    let faults = ["--engine=model", "--faults=at-pass=2,side=source,action=drop"];
    let fault = Run::new(&faults).outcome();
    assert_eq!(fault.code, Some(5), "{}", fault.stderr);
    let report = fault.report.unwrap();
    assert!(report["summary"]["verdict_reason"].as_str().unwrap().contains("fault: "), "{report}");
}
