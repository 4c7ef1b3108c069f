//! A link that is lost in post-copy: made anew, or the guest is lost.

use crate::harness::{Outcome, Run};

/// Memory that nobody touches comes by the background stream alone, so post-copy takes about 2 s.
const SLOW: [&str; 12] = [
    "--rate",
    "unlimited",
    "--max-bandwidth",
    "40MB/s",
    "--max-time",
    "60s",
    "--ballast",
    "20MiB",
    "--postcopy-after-passes",
    "0",
    "--postcopy-max-bandwidth",
    "12MB/s",
];

fn run(arguments: &[&str]) -> Outcome {
    Run::small(&[&SLOW[..], arguments].concat()).outcome()
}

fn recovered(faults: &str, more: &[&str]) -> Outcome {
    run(&[&["--postcopy-recover", "--faults", faults], more].concat())
}

#[track_caller]
fn assert_recovered(outcome: &Outcome, times: u64) {
    outcome.assert_ended(0, "completed", "verified");
    let report = outcome.report();
    let found = report["engine"]["details"]["postcopy_recoveries"].as_u64();
    assert!(found >= Some(times), "{found:?} recoveries, {times} were due");
    let events = report["events"].to_string();
    for kind in ["\"fault\"", "\"link-lost\"", "\"recover\"", "postcopy-paused"] {
        assert!(events.contains(kind), "no {kind} in {events}");
    }
}

#[test]
fn a_lost_link_is_made_anew_as_often_as_it_takes() {
    for (faults, times, more) in [
        ("at-postcopy=200ms,action=drop", 1, &["--transport", "unix"][..]),
        ("at-postcopy=200ms,side=destination,action=drop", 1, &["--postcopy-preempt=false"]),
        ("at-postcopy=200ms,action=corrupt", 1, &["--tls-mode=x509"]),
        ("at-postcopy=100ms,action=drop;at-postcopy=800ms,side=destination,action=drop", 2, &[]),
        // The second strikes while the link is made anew.
        ("at-postcopy=100ms,action=drop;at-postcopy=101ms,side=destination,action=drop", 1, &[]),
    ] {
        assert_recovered(&recovered(faults, more), times);
    }
}

#[test]
fn a_link_that_is_lost_while_it_is_made_anew_is_made_anew_again() {
    let fault = "at-postcopy=200ms,action=drop";
    for defect in ["source:disconnect=recovery", "destination:disconnect=recovery"] {
        assert_recovered(&recovered(fault, &["--x-break", defect]), 1);
    }
}

#[test]
fn a_page_that_is_claimed_and_not_there_is_corruption() {
    let fault = "at-postcopy=200ms,action=drop";
    let outcome = recovered(fault, &["--x-break", "destination:claim-page"]);
    outcome.assert_ended(4, "completed", "corrupt");
    assert_eq!(outcome.summary("integrity_detail")["corrupt_pages"], 1);
}

#[test]
fn a_side_that_dies_while_the_link_is_made_anew_takes_the_guest_with_it() {
    for defect in ["source:die=recovery", "destination:die=recovery"] {
        let outcome = recovered("at-postcopy=200ms,action=drop", &["--x-break", defect]);
        outcome.assert_ended(3, "lost", "unchecked");
    }
}

#[test]
fn without_recovery_the_report_says_that_the_guest_is_lost() {
    let outcome = run(&["--faults", "at-postcopy=200ms,action=drop"]);
    outcome.assert_ended(3, "lost", "unchecked");
    outcome.assert_reason_has("The link was lost in post-copy");
    outcome.assert_reason_has("migration.postcopy.recover");
    outcome.assert_reason_has("pages are missing");
}
