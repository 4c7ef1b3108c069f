//! The link is lost on purpose, before and after the switch to post-copy.

use super::{Bench, NEVER_ENDING, Outcome, detail};

/// Post-copy begins after 1 s and would take some 8 s; the link is lost 2 s into it.
pub(super) const LOST_IN_POSTCOPY: [&str; 6] = [
    "--postcopy-after",
    "1s",
    "--postcopy-max-bandwidth",
    "10MB/s",
    "--faults",
    "at-postcopy=2s,action=drop",
];

fn run(bench: &Bench, more: &[&str]) -> Outcome {
    bench.outcome(&[&NEVER_ENDING[..], more].concat())
}

#[test]
fn in_post_copy_a_lost_link_is_made_anew() {
    let Some(bench) = Bench::new() else { return };
    let outcome = run(&bench, &[&LOST_IN_POSTCOPY[..], &["--postcopy-recover"]].concat());
    outcome.assert_ended(0, "completed", "verified");
    assert!(detail(&outcome, "/postcopy_recoveries").as_u64() >= Some(1));
    let events = outcome.report()["events"].to_string();
    for kind in ["\"fault\"", "\"link-lost\"", "\"recover\"", "postcopy-paused", "postcopy-recover"]
    {
        assert!(events.contains(kind), "no {kind} in {events}");
    }
}

#[test]
fn without_recovery_the_guest_is_lost_and_the_report_says_so() {
    let Some(bench) = Bench::new() else { return };
    let outcome = run(&bench, &LOST_IN_POSTCOPY);
    outcome.assert_ended(3, "lost", "unchecked");
    outcome.assert_reason_has("The link was lost in post-copy");
    outcome.assert_reason_has("migration.postcopy.recover");
}

#[test]
fn before_the_switch_a_lost_link_leaves_the_guest_on_the_source() {
    let Some(bench) = Bench::new() else { return };
    let outcome = run(&bench, &["--faults", "at=1s,action=drop"]);
    outcome.assert_ended(3, "failed", "verified");
    assert!(outcome.report()["events"].to_string().contains("\"fault\""));
}

#[test]
fn a_way_that_cannot_be_taken_twice_is_refused() {
    let Some(bench) = Bench::new() else { return };
    let more = [
        "--postcopy-after",
        "1s",
        "--postcopy-recover",
        "--postcopy-preempt=false",
        "--transport",
        "fd",
    ];
    let outcome = bench.outcome(&more);
    outcome.assert_ended(5, "unsupported", "unchecked");
    outcome.assert_reason_has("migration.postcopy.recover");
}
