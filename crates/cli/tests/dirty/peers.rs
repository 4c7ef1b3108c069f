//! The flags of mig_mon and stress-ng mean what they mean there.

use crate::harness::{dirty, number, report};

#[test]
fn rates_of_mig_mon_are_mib_per_second() {
    for pattern in ["sequential", "random"] {
        let report = report(&["-m", "64", "-r", "500", "-p", pattern, "-L", "--duration", "1s"]);
        assert_eq!(report["spec"]["memory_bytes"], 64 << 20);
        assert_eq!(report["spec"]["pattern"], pattern);
        assert!(number(&report, "/summary/latency/count") > 0.0);
        let rate = number(&report, "/summary/touch_rate_bytes_per_second") / f64::from(500 << 20);
        assert!((0.9..1.01).contains(&rate), "{rate}");
        let buckets = report["latency_mig_mon_buckets"].as_array().unwrap();
        let count: u64 = buckets.iter().map(|it| it.as_u64().unwrap()).sum();
        assert_eq!(buckets.len(), 21);
        assert_eq!(count as f64, number(&report, "/summary/latency/count"));
    }
}

#[test]
fn latency_of_mig_mon_prints_its_buckets() {
    let outcome = dirty(&["-m", "4", "-L", "--duration", "50ms"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stdout.contains("   1048576 us: "), "{}", outcome.stdout);
}

#[test]
fn once_dirties_everything_once_and_sleeps() {
    let report = report(&["-m", "16", "-p", "once", "--duration", "200ms"]);
    assert_eq!(report["summary"]["touched_pages"], 4096);
    assert_eq!(report["summary"]["distinct_pages"], 4096);
    assert!(number(&report, "/summary/load") < 0.5);
}

#[test]
fn flags_of_stress_ng_are_understood() {
    let options = ["--vm", "2", "--vm-bytes", "16m", "--vm-method", "write64", "--vm-keep"];
    let report = report(&[&options[..], &["-t", "1", "--interval", "500ms"]].concat());
    assert_eq!(report["spec"]["workers"], 2);
    assert_eq!(report["spec"]["memory_bytes"], 16 << 20, "a total, not for each worker");
    assert_eq!(report["spec"]["method"], "write64");
    assert_eq!(report["spec"]["duration_seconds"], 1.0);
}

#[test]
fn a_share_is_one_of_the_available_memory() {
    let report = report(&["--vm-bytes", "0.1%", "--duration", "20ms"]);
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = meminfo.lines().find_map(|it| it.strip_prefix("MemAvailable:")).unwrap();
    let kib: f64 = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    // Others take and give memory meanwhile.
    let share = number(&report, "/spec/memory_bytes") / (kib * 1.024);
    assert!((0.5..2.0).contains(&share), "{share}");
}
