//! Schedules from a file and from a text.

use serde_json::Value;

use crate::harness::{dirty, number, report};

#[track_caller]
fn check_rates(report: &Value, expected: &[(usize, f64)]) {
    for (interval, pages_per_second) in expected {
        let rate = number(report, &format!("/intervals/{interval}/touch_rate_pages_per_second"));
        let ratio = rate / pages_per_second;
        assert!(
            (0.7..1.3).contains(&ratio),
            "interval {interval}: {rate} instead of {pages_per_second}"
        );
    }
}

#[test]
fn phases_change_the_rate_and_memory_can_be_verified_afterwards() {
    let phases = "at=300ms,for=300ms,rate=20000pages/s,pattern=sequential,memory=25%;for=300ms,rate=1000pages/s";
    let options =
        ["--memory", "8MiB", "-p", "random", "--rate", "5000pages/s", "--duration", "900ms"];
    let report = report(
        &[&options[..], &["--interval", "300ms", "--phases", phases, "--verify-final"]].concat(),
    );
    check_rates(&report, &[(0, 5000.0), (1, 20_000.0), (2, 1000.0)]);
    let in_working_set = number(&report, "/intervals/1/distinct_pages");
    assert!(
        (500.0..800.0).contains(&in_working_set),
        "512 of 2048 and what leaks in at the ends, not {in_working_set}"
    );
    assert_eq!(report["summary"]["integrity"], "verified");
    assert!(report["summary"]["asked_rate_pages_per_second"].is_null(), "it changes");
}

#[test]
fn phases_are_read_from_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("burst.toml");
    let text = "[workload]\nrepeat = true\n\
        [[workload.phase]]\nfor = \"100ms\"\nrate = \"1000pages/s\"\nmemory = \"1MiB\"\n\
        [[workload.phase]]\nfor = \"100ms\"\nrate = \"50000pages/s\"\n";
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    let found = report(&[
        "--memory",
        "8MiB",
        "--duration",
        "400ms",
        "--interval",
        "100ms",
        "--phases",
        path,
    ]);
    assert_eq!(found["spec"]["repeat"], true);
    // Others may take the processor for much of so short a time, so only the order of rates is sure.
    let pages = |of: [usize; 2]| -> f64 {
        of.iter().map(|it| number(&found, &format!("/intervals/{it}/touched_pages"))).sum()
    };
    let (slow, fast) = (pages([0, 2]), pages([1, 3]));
    assert!(fast > 3.0 * slow, "{fast} pages in the fast phases, {slow} in the slow ones");

    std::fs::write(path, text.replace("rate", "rat")).unwrap();
    let outcome = dirty(&["--memory", "8MiB", "--phases", path]);
    assert_eq!(outcome.code, Some(2));
    for part in ["burst.toml:5:", "`rate`"] {
        assert!(outcome.stderr.contains(part), "no `{part}` in {}", outcome.stderr);
    }
}
