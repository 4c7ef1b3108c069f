use serde_json::{Value, json};
use sterna_probe::Seen;

use super::*;
use crate::qmp::Event;

const MS: u64 = 1_000_000;

/// A migration that sends and dirties so many bytes per second for so many passes of a second.
fn trace(passes: u64, bytes_per_second: u64, dirty_per_second: u64) -> Trace {
    let mut trace = Trace::new(300 * MS, None);
    for pass in 0..=passes {
        let at_ns = pass * 1000 * MS + 1;
        let name = "MIGRATION_PASS".to_owned();
        let data = json!({ "pass": pass + 1 });
        trace.source_event(&Event { name, data, at_ns, received_ns: at_ns });
        let ram = json!({
            "page-size": 4096, "total": 1 << 30, "remaining": 1 << 20,
            "transferred": (pass + 1) * bytes_per_second, "normal": 1, "duplicate": 0,
            "mbps": 1.0, "dirty-pages-rate": if pass == 0 { 0 } else { dirty_per_second / 4096 },
        });
        trace.poll(at_ns + MS, &json!({ "status": "active", "ram": ram }));
    }
    trace
}

fn probe(latest_ns: u64) -> Option<ProbeSeen> {
    let seen = Seen { sent: 1, received: 1, ..Seen::default() };
    Some(ProbeSeen { kind: "udp".to_owned(), interval_ns: MS, latest_ns, seen })
}

/// A run about which nothing has to be said, changed in one thing.
struct Run {
    toml: &'static str,
    counters: Value,
    trace: Trace,
    is_hold_unproven: bool,
    probes: Vec<Option<ProbeSeen>>,
    accelerator: &'static str,
    version: &'static str,
    is_careless: bool,
    lost: u64,
}

impl Default for Run {
    fn default() -> Run {
        Run {
            toml: "",
            counters: Value::Null,
            trace: trace(2, 100_000_000, 1_000_000),
            is_hold_unproven: false,
            probes: vec![probe(0)],
            accelerator: "kvm",
            version: "10.0.2",
            is_careless: false,
            lost: 0,
        }
    }
}

#[track_caller]
fn check(run: Run, expected: &[&str]) {
    let scenario = Scenario::from_toml(run.toml, "run.toml").unwrap();
    let mut evidence = Evidence::default();
    evidence.see_source(&run.counters);
    let found = of(&Facts {
        scenario: &scenario,
        evidence: &evidence,
        trace: &run.trace,
        is_hold_unproven: run.is_hold_unproven,
        probes: &run.probes,
        accelerator: (run.accelerator, "there is no other"),
        memory: &MemorySize::choose(&scenario, run.accelerator, run.version, !run.is_careless),
        gaps_lost: run.lost,
        lines_lost: run.lost,
    });
    let codes: Vec<&str> = found.iter().map(|it| it.code.as_str()).collect();
    assert_eq!(codes, expected, "{found:?}");
    assert!(found.iter().all(|it| it.text.len() > 20 && !it.text.ends_with('.')), "{found:?}");
}

#[test]
fn a_run_without_surprises_needs_no_words() {
    check(Run::default(), &[]);
}

#[test]
fn multifd_above_the_limit_is_told_and_below_it_is_not() {
    let limited = "[migration]\nmax-bandwidth = \"100MB/s\"\n[migration.multifd]";
    let run = |toml, rate| Run { toml, trace: trace(2, rate, 1_000_000), ..Run::default() };
    check(run(limited, 150_000_000), &["bandwidth-overshoot"]);
    check(run(limited, 105_000_000), &[]);
    // Without multifd QEMU keeps its limit; a short burst is no overshoot.
    check(run("[migration]\nmax-bandwidth = \"100MB/s\"", 150_000_000), &[]);
    let unlimited = "[migration]\nmax-bandwidth = \"unlimited\"\n[migration.multifd]";
    check(run(unlimited, 150_000_000), &[]);
}

#[test]
fn advice_about_an_overshoot_is_a_limit_that_can_be_set() {
    let advice = |limit: f64, mean: f64| way_out(limit * 1e6, mean * 1e6, 8);
    assert!(advice(100.0, 130.0).starts_with("Set the limit to about 70 MB/s, use fewer"));
    // Less than nothing cannot be sent.
    for mean in [24.0, 52.5] {
        let expected = "Use fewer than 8 channels, or limit the network itself";
        assert_eq!(advice(12.5, mean), expected);
    }
}

#[test]
fn thresholds_under_compression_are_told_when_they_cost_passes() {
    let run =
        |toml, passes| Run { toml, trace: trace(passes, 9_000_000, 1_000_000), ..Run::default() };
    check(run("[migration.xbzrle]", 5), &["compressed-threshold"]);
    check(run("[migration.multifd]\ncompression = \"zstd\"", 5), &["compressed-threshold"]);
    check(run("[migration.multifd]\ncompression = \"zstd\"", 2), &[]);
    check(run("[migration.multifd]", 5), &[]);
}

#[test]
fn a_dirty_rate_that_only_repeats_the_bandwidth_is_told() {
    let run = |passes, dirty| Run { trace: trace(passes, 40_000_000, dirty), ..Run::default() };
    check(run(5, 40_600_000), &["dirty-rate-saturates"]);
    check(run(5, 20_000_000), &[]);
    check(run(2, 40_600_000), &[]);
    // Raw pages and compressed bytes cannot be compared, which has its own warning.
    let compressed = Run { toml: "[migration.xbzrle]", ..run(5, 40_600_000) };
    check(compressed, &["compressed-threshold"]);
}

#[test]
fn zero_copy_that_fell_back_is_told() {
    let zero_copy = "[migration]\nzero-copy = true\n[migration.multifd]";
    let run = |toml, missed: u64| Run {
        toml,
        counters: json!({ "ram": { "dirty-sync-missed-zero-copy": missed } }),
        ..Run::default()
    };
    check(run(zero_copy, 16), &["zero-copy-fell-back"]);
    check(run(zero_copy, 0), &[]);
    check(run("", 16), &[]);
}

#[test]
fn emulation_is_told_and_what_an_old_one_does_to_memory() {
    let run = |accelerator, version, passes| Run {
        accelerator,
        version,
        trace: trace(passes, 100_000_000, 1_000_000),
        ..Run::default()
    };
    check(run("tcg", "7.2.22", 1), &["memory-size-odd", "emulated-processors"]);
    check(run("tcg", "10.0.2", 2), &["emulated-processors"]);
    let careless = Run { is_careless: true, ..run("tcg", "7.2.22", 2) };
    check(careless, &["emulation-forgets-writes", "emulated-processors"]);
    check(run("kvm", "7.2.22", 2), &[]);
}

#[test]
fn probes_tell_when_nobody_answered_and_when_they_were_late() {
    let run = |probes| Run { probes, ..Run::default() };
    check(run(vec![None, probe(0)]), &["probe-unanswered"]);
    check(run(vec![]), &[]);
    check(run(vec![probe(MS), probe(60 * MS)]), &["probe-late"]);
    check(run(vec![probe(50 * MS)]), &[]);
}

#[test]
fn what_was_lost_or_not_proven_is_told() {
    check(Run { is_hold_unproven: true, ..Run::default() }, &["hold-unproven"]);
    check(Run { lost: 1, ..Run::default() }, &["gaps-lost", "guest-lines-lost"]);
}
