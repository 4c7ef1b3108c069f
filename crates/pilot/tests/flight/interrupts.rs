//! Ctrl-C, once and twice, in every phase.

use sterna_pilot::{Action, Phase};

use crate::flown::{Flown, fly_and_press};
use crate::scripted::{Call, Cancel, Commit, Script};

#[track_caller]
fn press(script: &Script, presses: &[(Phase, u64)], expected: &str, reason: &str) -> Flown {
    let flown = fly_and_press("", script, presses);
    flown.assert_ended(expected);
    flown.assert_reason_has(reason);
    flown.assert_verdict_is_true();
    assert!(matches!(flown.report.exit_code(), 130 | 3), "{}", flown.report.exit_code());
    flown
}

#[test]
fn in_the_boot_and_the_warm_up_nothing_has_moved() {
    let script = Script::default();
    let boot = press(&script, &[(Phase::Boot, 100)], "interrupted unchecked", "the boot");
    assert_eq!(boot.order(), [Call::Boot, Call::Warnings, Call::Shutdown]);
    let warm_up =
        press(&script, &[(Phase::WarmUp, 500)], "interrupted unchecked", "during the warm-up");
    assert_eq!(warm_up.order(), [Call::Boot, Call::Warnings, Call::Shutdown]);
    let summary = warm_up.summary();
    assert_eq!((summary.total_time_seconds, summary.wire_bytes), (None, None));
    assert_eq!(summary.baseline_pages_per_second, None);
    assert_eq!(summary.write_latency.during, None);
    assert!(summary.write_latency.baseline.is_some());
    assert!(!warm_up.report.guest.is_empty());
}

#[test]
fn in_the_migration_it_is_cancelled_and_the_source_verified() {
    for at in [0, 10, 500, 1010] {
        let script = Script { cancel: Cancel::After(10), ..Script::default() };
        let flown = press(
            &script,
            &[(Phase::Migrate, at)],
            "interrupted verified source",
            "during the migration, which was cancelled",
        );
        assert_eq!(flown.count(Call::Act(Action::Cancel)), 1);
        // Nothing is waited for any more.
        assert_eq!(flown.phases.last().unwrap().0 - cool_down_ns(&flown), 400_000_000);
    }
}

fn cool_down_ns(flown: &Flown) -> u64 {
    flown.phases.iter().find(|it| it.1 == Phase::CoolDown).unwrap().0
}

#[test]
fn past_the_commit_point_the_migration_goes_on_to_its_end() {
    let flown = press(
        &Script::default(),
        &[(Phase::Migrate, 1040)],
        "interrupted verified destination",
        "during the migration; the migration ended as completed",
    );
    assert_eq!(flown.count(Call::Act(Action::Cancel)), 1);
    assert!(flown.summary().downtime_seconds.is_some());
    let lost = Script { commit: Commit::BrokenAndLost, ..Script::default() };
    press(&lost, &[(Phase::Migrate, 1040)], "lost unchecked", "no side can run the guest");
}

#[test]
fn in_the_cool_down_the_waiting_ends_and_memory_is_verified() {
    let flown = press(
        &Script::default(),
        &[(Phase::CoolDown, 500)],
        "interrupted verified destination",
        "during the cool-down; the migration ended as completed",
    );
    assert_eq!(flown.summary().total_time_seconds, Some(1.06));
    let forced = fly_and_press(
        "[migration.pause]\nafter = \"500ms\"",
        &Script::default(),
        &[(Phase::CoolDown, 500)],
    );
    forced.assert_reason_has("ended as completed-forced (Paused after");
}

#[test]
fn in_the_verification_it_ends_with_memory_unchecked() {
    press(
        &Script::default(),
        &[(Phase::Verify, 100)],
        "interrupted unchecked",
        "during the verification; the migration ended as completed",
    );
}

#[test]
fn a_second_one_ends_at_once() {
    let stuck = Script { cancel: Cancel::Ignored, stop: None, ..Script::default() };
    let flown = press(
        &stuck,
        &[(Phase::Migrate, 500), (Phase::Migrate, 600)],
        "interrupted unchecked",
        "during the migration",
    );
    assert!(flown.phases.last().unwrap().0 - migrate_ns(&flown) <= 625_000_000);

    // In the verification that the first one led to.
    press(
        &Script::default(),
        &[(Phase::CoolDown, 500), (Phase::Verify, 100)],
        "interrupted unchecked",
        "during the cool-down",
    );

    // Past the commit point as well; both sides are ended, so no guest runs twice.
    let silent = Script { commit: Commit::Silent, ..Script::default() };
    let flown = press(
        &silent,
        &[(Phase::Migrate, 2000), (Phase::Migrate, 3000)],
        "interrupted unchecked",
        "during the migration",
    );
    assert_eq!(flown.count(Call::Settle), 0);

    let boot = [(Phase::Boot, 100), (Phase::Boot, 110)];
    press(&Script::default(), &boot, "interrupted unchecked", "during the boot");
}

#[test]
fn a_cancel_that_came_too_late_is_followed_by_the_question_to_the_destination() {
    // Accepted in the switchover, without effect before GO; then no answer comes.
    let late = Cancel::After(40);
    let silent = Script { commit: Commit::Silent, cancel: late, ..Script::default() };
    let flown = press(
        &silent,
        &[(Phase::Migrate, 1003)],
        "interrupted verified destination",
        "during the migration; the migration ended as completed",
    );
    assert_eq!(flown.count(Call::Settle), 1);
}

#[test]
fn a_source_that_died_is_not_hidden_by_an_interrupt() {
    // Died in the cool-down of a migration that had failed; the interrupt comes when that is found out.
    let script = Script { failure: Some(600), source_dies: Some(990), ..Script::default() };
    press(&script, &[(Phase::Migrate, 1026)], "lost unchecked", "source host");
}

fn migrate_ns(flown: &Flown) -> u64 {
    flown.phases.iter().find(|it| it.1 == Phase::Migrate).unwrap().0
}
