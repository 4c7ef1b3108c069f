//! Each technique completes with its memory verified, and with evidence that it was at work.

use super::counters::assert_agree;
use super::{Bench, NEVER_ENDING, detail};

#[track_caller]
pub(super) fn number(value: &serde_json::Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn a_guest_arrives_with_all_of_its_memory() {
    let Some(bench) = Bench::new() else { return };
    let outcome = bench.outcome(&[]);
    outcome.assert_ended(0, "completed", "verified");
    assert_eq!(outcome.report()["summary"]["integrity_detail"]["pages_checked"], 32 << 8);
    let downtime = number(outcome.summary("downtime_seconds"));
    let freeze = number(detail(&outcome, "/guest_clock_standstill_seconds"));
    assert!((downtime - freeze).abs() < 0.05, "{downtime} s by events, {freeze} s by the guest");
    let blackout = number(outcome.summary("blackout_seconds"));
    assert!(blackout > downtime - 0.01, "{blackout} s of blackout in {downtime} s of downtime");
    assert!(number(outcome.summary("baseline_pages_per_second")) > 100.0);
    let probe = &outcome.report()["probes"][0];
    assert!(number(&probe["received"]) > 50.0, "{probe}");
    for side in ["memory_source", "memory_destination"] {
        // Pages of 4 KiB are what was asked for, whatever the system would give.
        for moment in ["transparent_huge_page_bytes", "transparent_huge_page_bytes_before"] {
            assert_eq!(detail(&outcome, &format!("/{side}/{moment}")), 0);
        }
    }
    let cpu = outcome.report()["summary"]["cpu"]["source"].to_string();
    assert!(cpu.contains("vcpu") && cpu.contains("migration"), "{cpu}");
}

#[test]
fn a_share_of_the_memory_leaves_the_guests_system_its_part() {
    let Some(bench) = Bench::new() else { return };
    let outcome = bench.outcome(&["--memory", "160MiB", "--workload-memory", "100%"]);
    outcome.assert_ended(0, "completed", "verified");
    assert_eq!(outcome.report()["summary"]["integrity_detail"]["pages_checked"], 83 << 8);
    let warnings = outcome.report()["warnings"].to_string();
    assert!(warnings.contains("workload-beside-system"), "{warnings}");
}

#[test]
fn post_copy_fetches_what_the_guest_asks_for() {
    let Some(bench) = Bench::new() else { return };
    let more = ["--postcopy-after-passes", "2", "--huge-pages", "thp"];
    let outcome = bench.outcome(&[&NEVER_ENDING[..], &more].concat());
    outcome.assert_ended(0, "completed", "verified");
    assert!(number(detail(&outcome, "/source_counters/postcopy_requests")) > 0.0);
    // Memory that was forgotten for post-copy came back in pages of 4 KiB.
    let before = detail(&outcome, "/memory_destination/transparent_huge_page_bytes_before");
    if number(before) > f64::from(64 << 20) {
        let after = number(detail(&outcome, "/memory_destination/transparent_huge_page_bytes"));
        assert!(after < number(before) / 2.0, "{after} bytes of {before} before");
    } else {
        eprintln!("skipped: this system gives no transparent huge pages");
    }
}

#[test]
fn passes_are_held_until_memory_is_sent_again() {
    let Some(bench) = Bench::new() else { return };
    for more in [&[][..], &["--multifd"]] {
        let outcome = bench.outcome(&[&["--hold"], more].concat());
        outcome.assert_ended(0, "completed", "verified");
        assert_eq!(detail(&outcome, "/hold/proven"), true);
        assert!(number(outcome.summary("pages_resent")) > 0.0);
        assert!(number(outcome.summary("passes")) >= 2.0);
        assert_agree(&outcome);
        for side in ["looks_at_source", "looks_at_destination"] {
            let way = detail(&outcome, &format!("/hold/{side}")).as_str().unwrap();
            assert!(way.ends_with("/mem"), "{side}: {way}");
        }
        if !more.is_empty() {
            assert!(number(detail(&outcome, "/source_counters/multifd_bytes")) > 0.0);
        }
    }
}

#[test]
fn without_the_marker_nothing_is_proven() {
    let Some(bench) = Bench::new() else { return };
    let outcome = bench.outcome(&["--hold", "--x-break", "no-marker", "--max-time", "4s"]);
    outcome.assert_ended(3, "cancelled", "verified");
    assert_eq!(detail(&outcome, "/hold/proven"), false);
    assert!(outcome.report()["warnings"].to_string().contains("hold-unproven"));
    // The limits of the hold are none of the migration's, so no threshold is made of them.
    let polls = outcome.report()["timeline"].as_array().unwrap();
    assert!(polls.iter().any(|it| it["bandwidth_bytes_per_second"].is_number()));
    assert!(polls.iter().all(|it| it["threshold_bytes"].is_null()), "{polls:?}");
}

#[test]
fn differences_are_sent_where_xbzrle_is_asked_for() {
    let Some(bench) = Bench::new() else { return };
    let outcome = bench.outcome(&["--xbzrle", "--rate", "100MiB/s", "--max-bandwidth", "50MB/s"]);
    outcome.assert_ended(0, "completed", "verified");
    assert!(number(detail(&outcome, "/source_counters/xbzrle_pages")) > 0.0);
}

#[test]
fn an_encrypted_stream_carries_several_channels() {
    let Some(bench) = Bench::new() else { return };
    let outcome = bench.outcome(&["--tls", "--multifd-compression", "zstd"]);
    outcome.assert_ended(0, "completed", "verified");
    // One for each of the four channels, and one for the connection that leads them.
    assert_eq!(detail(&outcome, "/tls/handshakes_source"), 5);
    assert_eq!(detail(&outcome, "/tls/handshakes_destination"), 5);
    let events = outcome.report()["events"].to_string();
    assert!(events.contains("qemu-pass") && events.contains("qemu-resume"), "{events}");
}

#[test]
fn a_guest_that_writes_too_fast_is_slowed_down() {
    let Some(bench) = Bench::new() else { return };
    let outcome = bench.outcome(&[
        "--auto-converge",
        "--rate",
        "unlimited",
        "--auto-converge-initial",
        "90",
        "--max-bandwidth",
        "30MB/s",
    ]);
    outcome.assert_ended(0, "completed", "verified");
    assert!(number(detail(&outcome, "/source_counters/throttle_percent")) >= 90.0);
}

#[test]
fn a_pause_forces_completion() {
    let Some(bench) = Bench::new() else { return };
    let outcome = bench.outcome(&[&NEVER_ENDING[..], &["--pause-after-passes", "1"]].concat());
    outcome.assert_ended(0, "completed-forced", "verified");
    let downtime = number(outcome.summary("downtime_seconds"));
    let outages = outcome.report()["probes"][0]["outages"].as_array().unwrap().clone();
    let longest = outages.iter().map(|it| number(&it["length_seconds"])).fold(0.0, f64::max);
    assert!((longest - downtime).abs() < 0.3, "{longest} s of silence, {downtime} s of downtime");
}

#[test]
fn a_limit_leaves_the_guest_on_the_source() {
    let Some(bench) = Bench::new() else { return };
    let outcome = bench.outcome(&[&NEVER_ENDING[..], &["--max-passes", "2"]].concat());
    outcome.assert_ended(3, "cancelled", "verified");
    outcome.assert_reason_has("limits.max-passes");
    assert_eq!(outcome.report()["summary"]["integrity_detail"]["side"], "source");
}
