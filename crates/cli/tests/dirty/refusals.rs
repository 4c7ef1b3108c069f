//! Bad input: the exit code, what is named, and the way out.

use crate::harness::dirty;

#[track_caller]
fn check(arguments: &[&str], code: i32, expected: &[&str]) {
    let outcome = dirty(&[arguments, &["--duration", "1s"]].concat());
    assert_eq!(outcome.code, Some(code), "{}", outcome.stderr);
    assert_eq!(outcome.stdout, "");
    for part in expected {
        assert!(outcome.stderr.contains(part), "no `{part}` in: {}", outcome.stderr);
    }
}

#[test]
fn usage_errors_name_the_value_and_the_way_out() {
    check(&["--memory", "0"], 2, &["at least 4KiB"]);
    check(&["--memory", "12XB"], 2, &["--memory", "12XB"]);
    check(&["--memory", "8191PiB"], 2, &["available", "fits"]);
    check(&["--memory", "100%"], 2, &["available", "MiB fits"]);
    check(&["--memory", "1GiB", "--workers", "100000"], 2, &["100000 workers", "4096"]);
    check(&["--memory", "1MiB", "--workers", "257"], 2, &["257 workers", "256 pages"]);
    check(&["--pattern", "randon"], 2, &["randon", "`random`"]);
    check(&["--method", "write46"], 2, &["write46", "`write64`"]);
    check(&["--vm-method", "write46"], 2, &["write46", "`write64`"]);
    check(&["--rate", "500M"], 2, &["500M", "B/s"]);
    check(&["--rate", "0B/s"], 2, &["unlimited"]);
    check(&["--interval", "0s"], 2, &["10ms"]);
    check(&["--label", "no-value"], 2, &["run=7"]);
    check(
        &["--phases", "at=0s,for=2s;at=1s,for=2s"],
        2,
        &["Phase 2 begins at 1s", "phase 1 lasts until 2s"],
    );
    check(&["--phases", "/nonexistent.toml"], 2, &["/nonexistent.toml"]);
    check(&["--repeat"], 2, &["--phases"]);
    check(&["--stalls", ">1ms"], 2, &["--stalls >1ms", "one FILE"]);
    check(&["--stalls", "a.csv", "b.csv"], 2, &["a.csv b.csv", "one FILE"]);
    check(&["-t", "18446744073709551615"], 2, &["18446744073709551615", "too large"]);
    check(&["--memory", "1MiB", "-m", "1"], 2, &["--memory"]);
    check(&["--remap", "--locked"], 2, &["--remap", "--locked"]);
    check(&["--remap", "--verify-final", "--phases", "for=1s"], 2, &["--phases", "--verify,"]);
    let uneven = ["--remap", "-P", "2m", "--memory", "6MiB", "--workers", "2"];
    check(&uneven, 2, &["whole pages of 2MiB", "multiple of 4MiB"]);
    check(&["--memory", "1MiB", "--numa-node", "4095"], 2, &["4095", "does not exist"]);
    check(&["--output", "/nonexistent/report.json"], 2, &["/nonexistent/report.json"]);
}

#[test]
fn huge_pages_that_are_not_reserved_are_not_supported_here() {
    let free = "/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages";
    match std::fs::read_to_string(free) {
        Ok(free) if free.trim() == "0" => {
            check(&["--memory", "1GiB", "-P", "1g"], 5, &["hugepages-1048576kB/nr_hugepages"]);
        }
        Ok(_) => eprintln!("skipped: huge pages of 1 GiB are reserved here"),
        Err(error) => eprintln!("skipped: this machine has no huge pages of 1 GiB ({error})"),
    }
}

#[test]
fn a_rate_that_cannot_be_reached_is_told_and_under_strict_rate_a_failure() {
    let options = ["--memory", "4MiB", "--method", "fill-random", "--rate", "100TB/s"];
    let options = [&options[..], &["--duration", "100ms"]].concat();
    let outcome = dirty(&options);
    assert_eq!(outcome.code, Some(0));
    assert!(outcome.stderr.contains("was not reached; this machine made"), "{}", outcome.stderr);
    assert_eq!(dirty(&[&options[..], &["--strict-rate"]].concat()).code, Some(4));
}
