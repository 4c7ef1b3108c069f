//! Every claim is broken on purpose and must be seen to fail; every fault ends in the right verdict with nothing left behind.

use crate::harness::{Outcome, Run};

fn broken(defects: &str, arguments: &[&str]) -> Outcome {
    Run::small(&[&["--x-break", defects], arguments].concat()).outcome()
}

#[test]
fn a_lost_page_is_corruption() {
    let outcome = broken("source:lose-page", &[]);
    outcome.assert_ended(4, "completed", "corrupt");
    let detail = outcome.summary("integrity_detail");
    assert_eq!(detail["corrupt_pages"], 1);
    assert_ne!(detail["first"][0]["expected"], detail["first"][0]["found"]);
}

#[test]
fn a_lost_page_is_corruption_whatever_writes_it() {
    for method in ["touch", "write64nt", "xor-random", "fill-random", "compressible(3)"] {
        let outcome = broken("source:lose-page", &["--method", method]);
        outcome.assert_ended(4, "completed", "corrupt");
        assert_eq!(outcome.summary("integrity_detail")["corrupt_pages"], 1, "{method}");
    }
}

#[test]
fn a_skipped_synchronisation_is_corruption() {
    let outcome = broken("source:skip-final-sync", &[]);
    outcome.assert_ended(4, "completed", "corrupt");
}

#[test]
fn a_late_resume_is_downtime_and_blackout() {
    let outcome = broken("destination:late-resume=400ms", &[]);
    outcome.assert_ended(0, "completed", "verified");
    for claim in ["downtime_seconds", "blackout_seconds", "resume_seconds", "lost_work_seconds"] {
        let seconds = outcome.summary(claim).as_f64().unwrap();
        assert!(seconds >= 0.4, "{claim} = {seconds}");
    }
}

#[test]
fn before_the_commit_point_the_source_runs_on_unharmed() {
    #[track_caller]
    fn check(defects: &str, reason: &str) {
        // Slow enough for a second pass.
        let outcome = broken(
            defects,
            &["--max-bandwidth", "200Mbit/s", "--rate", "8MiB/s", "--downtime-limit", "20ms"],
        );
        outcome.assert_ended(3, "failed", "verified");
        outcome.assert_reason_has(reason);
        assert!(outcome.summary("downtime_seconds").is_null());
        let side = &outcome.summary("integrity_detail")["side"];
        assert_eq!(side, "source");
    }
    check("destination:die=pass1", "onnection");
    check("destination:die=pass2", "onnection");
    // Between READY and GO.
    check("destination:die=ready,source:late-go=300ms", "closed the connection");
    check("destination:disconnect=ready,source:late-go=300ms", "closed the connection");
    check("source:disconnect=pass1", "onnection");
    check("source:disconnect=pass2", "onnection");
    check("source:disconnect=ready", "onnection");
    check("source:corrupt-frame", "Checksum mismatch");
}

#[test]
fn after_the_commit_point_the_destination_is_asked() {
    // It runs the guest, although the connection broke.
    let outcome = broken("destination:disconnect=go", &[]);
    outcome.assert_ended(0, "completed", "verified");
    assert!(outcome.summary("downtime_seconds").as_f64().is_some());
}

#[test]
fn a_destination_that_dies_after_the_commit_point_takes_the_guest_with_it() {
    let outcome = broken("destination:die=go", &[]);
    outcome.assert_ended(3, "lost", "unchecked");
    outcome.assert_reason_has("no side can run the guest");
}

#[test]
fn a_destination_that_hangs_is_left_by_a_limit() {
    let outcome = broken(
        "destination:hang=pass1",
        &["--max-time", "1s", "--memory", "64MiB", "--ballast", "40MiB"],
    );
    outcome.assert_ended(3, "cancelled", "verified");
    outcome.assert_reason_has("limits.max-time");
}

#[test]
fn a_source_that_dies_takes_the_guest_with_it() {
    for moment in ["pass1", "ready"] {
        let outcome = broken(&format!("source:die={moment}"), &[]);
        outcome.assert_ended(3, "lost", "unchecked");
        outcome.assert_reason_has("killed by signal");
    }
}

#[test]
fn without_kernel_tracking_the_workload_stands_in() {
    let outcome = broken("source:no-wp-async", &[]);
    outcome.assert_ended(0, "completed", "verified");
    assert_eq!(outcome.report()["engine"]["tracker"], "cooperative");
    let outcome = broken("source:no-wp-async", &["--tracker", "wp-async"]);
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has("use cooperative");
}

#[test]
fn more_memory_than_there_is_is_refused_with_numbers() {
    // One side alone would fit.
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let available = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap();
    let kib: u64 = available.trim().trim_end_matches(" kB").parse().unwrap();
    let too_much = format!("{}MiB", kib / 1024 * 3 / 4);
    for memory in ["64TiB", too_much.as_str()] {
        let outcome = Run::small(&["--memory", memory]).outcome();
        outcome.assert_ended(5, "unsupported", "unchecked");
        outcome.assert_reason_has("guest.memory");
        outcome.assert_reason_has("both sides");
        assert!(outcome.stdout.starts_with("Unsupported, nothing was started"));
    }
}

#[test]
fn reserved_pages_that_are_not_there_are_refused_with_the_way_out() {
    let outcome = Run::small(&["--memory", "64GiB", "--huge-pages", "1GiB"]).outcome();
    outcome.assert_ended(5, "unsupported", "unchecked");
}
