//! What a user without any privilege can run: all of it, or what stands in for it, or a refusal that says what is missing.

use crate::harness::unprivileged;

/// A guest that makes a pass or two in a second.
const BASE: [&str; 12] = [
    "--memory",
    "24MiB",
    "--workload-memory",
    "50%",
    "--rate",
    "4MiB/s",
    "--max-bandwidth",
    "200Mbit/s",
    "--warmup",
    "150ms",
    "--cooldown",
    "100ms",
];

const TECHNIQUES: &[&[&str]] = &[
    &["--multifd-channels", "3"],
    &["--multifd-channels", "2", "--multifd-compression", "zstd"],
    &["--multifd-channels", "2", "--multifd-compression", "zlib"],
    // The kernel copies where it may not pin, and the report counts it.
    &["--multifd-channels", "1", "--zero-copy=true"],
    &["--xbzrle", "--zero-page", "off"],
    &["--auto-converge", "--transport", "unix"],
    &["--dirty-limit-per-vcpu", "1MB/s"],
    &["--pause-after-passes", "1", "--downtime-limit", "1ms"],
    &["--hold-at-least-passes", "2"],
    &["--downtime-from", "10ms", "--downtime-to", "200ms", "--downtime-every", "100ms"],
    &["--tls-mode", "x509"],
    &["--postcopy-after-passes", "0"],
    &["--postcopy-after-passes", "1", "--postcopy-preempt=false"],
    &["--huge-pages", "thp", "--tracker", "wp-async"],
    &["--tracker", "cooperative", "--prealloc=false"],
    &["--link-bandwidth", "200Mbit/s", "--link-latency", "5ms"],
    &["--fleet-guests", "2", "--fleet-parallel", "1", "--link-bandwidth", "200Mbit/s"],
];

#[test]
fn every_technique_runs_without_any_privilege() {
    for technique in TECHNIQUES {
        let Some(outcome) = unprivileged(&[&BASE[..], technique].concat()) else { return };
        let verdict = if technique[0].contains("pause") { "completed-forced" } else { "completed" };
        outcome.assert_ended(0, verdict, "verified");
    }
}

#[test]
fn what_takes_a_privilege_is_refused_with_the_way_out() {
    // More than any limit on locked memory that comes with a system.
    let locked = ["--memory", "1GiB", "--locked=true"];
    let Some(outcome) = unprivileged(&locked) else { return };
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has("RLIMIT_MEMLOCK");
}
