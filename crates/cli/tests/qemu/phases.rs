//! Either QEMU is killed in each phase of a run.

use std::time::{Duration, Instant};

use super::faults::kill_side;
use super::{Bench, NEVER_ENDING, Outcome};

/// What the phases need beyond a small guest.
const POSTCOPY: [&str; 4] = ["--postcopy-after-passes", "1", "--postcopy-max-bandwidth", "1MB/s"];

/// Kills a side as soon as the progress has these words.
fn killed_at(bench: &Bench, side: &str, words: &str, more: &[&str]) -> Outcome {
    let mut running = bench.run(&[more, &["--progress", "plain"]].concat()).start();
    running.wait_for(words);
    kill_side(&running, side);
    let outcome = running.outcome();
    assert!(outcome.report.is_some(), "no report: {}", outcome.stderr);
    outcome
}

/// Before the migration.
fn early(side: &str, in_warm_up: (&str, &str)) {
    let Some(bench) = Bench::new() else { return };
    let outcome = killed_at(&bench, side, "boot", &[]);
    outcome.assert_ended(1, "failed", "unchecked");
    assert_eq!(outcome.report()["summary"]["failed_in"], "boot");
    outcome.assert_reason_has("killed by signal 9");
    let outcome = killed_at(&bench, side, "warm-up", &["--warmup", "3s"]);
    // The migrate command is accepted before the source finds that no destination is left.
    outcome.assert_ended(3, in_warm_up.0, in_warm_up.1);
    outcome.assert_reason_has("killed by signal 9");
}

#[test]
fn a_source_that_dies_early_takes_the_guest_with_it() {
    early("source", ("lost", "unchecked"));
}

#[test]
fn a_destination_that_dies_early_leaves_the_guest_alone() {
    early("destination", ("failed", "verified"));
}

/// In the middle: the first pass is in `faults`.
fn midway(side: &str, ending: (&str, &str)) {
    let Some(bench) = Bench::new() else { return };
    let stay = ["--x-break", "stay-in-switchover"];
    for (words, more) in [("pass 2", &NEVER_ENDING[..]), ("switchover", &stay)] {
        let outcome = killed_at(&bench, side, words, more);
        outcome.assert_ended(3, ending.0, ending.1);
        outcome.assert_reason_has("killed by signal 9");
        assert!(!outcome.report()["passes"].as_array().unwrap().is_empty());
    }
}

#[test]
fn a_source_that_dies_midway_takes_the_guest_with_it() {
    midway("source", ("lost", "unchecked"));
}

#[test]
fn a_destination_that_dies_midway_leaves_the_guest_on_the_source() {
    midway("destination", ("failed", "verified"));
}

#[test]
fn in_post_copy_the_death_of_either_is_the_death_of_the_guest() {
    let Some(bench) = Bench::new() else { return };
    for side in ["source", "destination"] {
        let more = [&NEVER_ENDING[..], &POSTCOPY].concat();
        let outcome = killed_at(&bench, side, "  postcopy  ", &more);
        outcome.assert_ended(3, "lost", "unchecked");
        outcome.assert_reason_has("killed by signal 9");
    }
}

#[test]
fn after_the_migration_only_the_destination_matters() {
    let Some(bench) = Bench::new() else { return };
    for (side, code, verdict, integrity) in
        [("source", 0, "completed", "verified"), ("destination", 3, "lost", "unchecked")]
    {
        let outcome = killed_at(&bench, side, "cool-down", &["--cooldown", "3s"]);
        outcome.assert_ended(code, verdict, integrity);
    }
}

#[test]
fn a_guest_that_is_given_up_in_postcopy_does_not_hold_the_run() {
    let Some(bench) = Bench::new() else { return };
    let early = ["--postcopy-after", "500ms", "--postcopy-max-bandwidth", "1MB/s"];
    let give_up = ["--max-bandwidth", "4MB/s", "--abandon-postcopy-after", "2s"];
    let more = [&early[..], &give_up, &["--progress", "plain"]].concat();
    let mut running = bench.run(&more).start();
    running.wait_for("Given up");
    let given_up = Instant::now();
    let outcome = running.outcome();
    // The destination waits for a page with its lock in its hands, and answers nothing.
    let took = given_up.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    outcome.assert_ended(3, "lost", "unchecked");
}
