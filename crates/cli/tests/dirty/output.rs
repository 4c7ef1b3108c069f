//! What is printed, and in which form.

use crate::harness::{dirty, number, report, start};

#[test]
fn text_has_a_line_for_each_interval_and_a_summary() {
    let outcome = dirty(&[
        "--memory",
        "8MiB",
        "--duration",
        "500ms",
        "--interval",
        "200ms",
        "--rate",
        "20MiB/s",
    ]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let intervals = outcome.stdout.lines().filter(|it| it.contains(" p/s ")).count();
    assert_eq!(intervals, 3, "{}", outcome.stdout);
    for row in ["touch rate", "dirty rate", "load", "stalls", "integrity       unchecked"] {
        assert!(outcome.stdout.contains(&format!("\n{row}")), "no `{row}` in {}", outcome.stdout);
    }
    assert!(!outcome.stdout.contains("p99.9"), "writes were not timed");
}

#[test]
fn json_has_units_in_names_and_null_for_what_is_unknown() {
    let report = report(&[
        "--memory",
        "8MiB",
        "--duration",
        "300ms",
        "--rate",
        "1000pages/s",
        "--interval",
        "100ms",
    ]);
    assert_eq!(report["schema"], "sterna-dirty");
    assert_eq!(report["spec"]["rate_bytes_per_second"], 4_096_000.0);
    assert_eq!(report["spec"]["workers"], 1);
    assert!(report["summary"]["latency"].is_null());
    assert!(report["summary"]["corrupt_pages"].is_null());
    assert!(report["summary"]["compressibility"].is_null());
    assert_eq!(report["summary"]["integrity"], "unchecked");
    assert_eq!(report["summary"]["ended_by"], "duration");
    let rate = number(&report, "/summary/touch_rate_pages_per_second");
    assert!((900.0..1100.0).contains(&rate), "{rate}");
    let bytes = number(&report, "/summary/touch_rate_bytes_per_second");
    assert!((bytes / rate - 4096.0).abs() < 1e-6);
    // Fewer pages than there are, in order: none is written twice.
    assert_eq!(report["summary"]["distinct_pages"], report["summary"]["touched_pages"]);
    let of_intervals: f64 =
        report["intervals"].as_array().unwrap().iter().map(|it| number(it, "/touched_pages")).sum();
    assert_eq!(of_intervals, number(&report, "/summary/touched_pages"));
}

#[test]
fn the_report_file_is_the_report() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("report.json");
    let path = path.to_str().unwrap();
    let outcome =
        dirty(&["--memory", "4MiB", "--duration", "50ms", "--format", "json", "-o", path]);
    assert_eq!(std::fs::read_to_string(path).unwrap(), outcome.stdout);
}

#[test]
fn it_ends_when_nobody_reads_any_more() {
    for format in [&["--format", "text"][..], &["--format", "json"], &["--json-stream"]] {
        let flags = ["--memory", "4MiB", "--rate", "1MiB/s", "--interval", "20ms"];
        let mut running = start(&[&flags, format].concat());
        drop(running.child().stdout.take());
        assert_eq!(running.outcome().code, Some(0), "{format:?}");
    }
}
