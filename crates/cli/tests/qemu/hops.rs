//! A guest of QEMU that goes there and back, and one that is paused while it moves.

use serde_json::Value;

use super::Bench;

#[test]
fn a_guest_goes_there_and_back_and_each_hop_is_verified() {
    let Some(bench) = Bench::new() else { return };
    for technique in [&["--tls-mode", "x509"][..], &["--postcopy-after-passes", "1"]] {
        let outcome = bench.outcome(&[&["--hops", "2", "--rate", "5MB/s"], technique].concat());
        outcome.assert_ended(0, "completed", "verified");
        let hops = outcome.report()["hops"].as_array().unwrap();
        assert_eq!(hops.len(), 2, "{technique:?}");
        for hop in hops {
            let report = &hop["report"];
            let summary = &report["summary"];
            assert_eq!(summary["integrity"], "verified");
            assert!(summary["downtime_seconds"].as_f64().is_some_and(|it| it > 0.0), "{summary}");
            assert!(summary["baseline_pages_per_second"].as_f64().is_some_and(|it| it > 100.0));
            // The network follows the guest on both ways.
            assert!(report["probes"][0]["received"].as_f64().is_some_and(|it| it > 50.0));
        }
    }
}

#[test]
fn a_paused_guest_arrives_paused_without_a_downtime_and_goes_on() {
    let Some(bench) = Bench::new() else { return };
    let outcome = bench.outcome(&["--paused", "--rate", "5MB/s"]);
    outcome.assert_ended(0, "completed", "verified");
    for field in ["downtime_seconds", "blackout_seconds", "lost_work_seconds"] {
        assert_eq!(outcome.summary(field), &Value::Null, "{field}");
    }
    assert_eq!(outcome.summary("pages_resent"), 0);
    let samples = outcome.report()["guest"].as_array().unwrap();
    let after = samples.iter().filter(|it| it["side"] == "destination");
    let pages: f64 = after.map(|it| it["writes_per_second"].as_f64().unwrap()).sum();
    assert!(pages > 0.0, "the guest does not go on");
}
