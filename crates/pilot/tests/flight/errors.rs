//! Engines that fail, and sides that die.

use sterna_pilot::{Action, Phase};
use sterna_report::{FailedIn, LostCause, Side};

use crate::flown::fly;
use crate::scripted::{Call, Commit, Script};

fn faulty(call: Call, works: u32) -> Script {
    Script { fault: Some((call, works)), ..Script::default() }
}

#[test]
fn an_unsupported_scenario_boots_nothing_and_names_the_field_and_the_engine() {
    let flown = fly("", &Script { unsupported: true, ..Script::default() });
    flown.assert_ended("unsupported unchecked");
    flown.assert_reason_has("scripted");
    flown.assert_reason_has("migration.multifd: not today");
    assert_eq!(flown.order(), [Call::Warnings, Call::Shutdown]);
    assert_eq!(flown.report.exit_code(), 5);
}

#[test]
fn a_boot_that_fails_is_a_failure_without_anything_to_rescue() {
    let flown = fly("", &faulty(Call::Boot, 0));
    flown.assert_ended("failed unchecked");
    flown.assert_reason_has("Scripted failure");
    assert_eq!(flown.summary().failed_in, Some(FailedIn::Boot));
    assert_eq!(flown.report.exit_code(), 1);
    assert_eq!(flown.order(), [Call::Boot, Call::Warnings, Call::Shutdown]);
    assert_eq!(flown.summary().total_time_seconds, None);
}

#[test]
fn an_error_in_the_warm_up_leaves_a_verified_source() {
    let flown = fly("", &faulty(Call::Samples, 3));
    flown.assert_ended("failed verified source");
    assert_eq!(flown.summary().verdict_reason.as_deref(), Some("Scripted failure"));
    assert_eq!(flown.summary().failed_in, Some(FailedIn::Prepare));
    assert_eq!(flown.report.exit_code(), 1);
    assert_eq!(flown.count(Call::Migrate), 0);
}

#[test]
fn a_migration_that_cannot_begin_leaves_a_verified_source() {
    let flown = fly("", &faulty(Call::Migrate, 0));
    flown.assert_ended("failed verified source");
    flown.assert_reason_has("Scripted failure");
    assert_eq!(flown.count(Call::Act(Action::Cancel)), 0);
    assert_eq!(flown.summary().failed_in, Some(FailedIn::Prepare));
    assert_eq!(flown.report.exit_code(), 1);
    assert_eq!(flown.summary().total_time_seconds, None);
}

#[test]
fn an_engine_that_gives_up_leaves_a_verified_source() {
    for failure in [10, 500, 1020] {
        let flown = fly("", &Script { failure: Some(failure), ..Script::default() });
        flown.assert_ended("failed verified source");
        flown.assert_verdict_is_true();
        flown.assert_reason_has("In the engine's own words");
        assert_eq!((flown.summary().failed_in, flown.report.exit_code()), (None, 3));
        assert_eq!(flown.summary().total_time_seconds, Some(failure as f64 / 1e3));
        // The guest is watched after it as well: how it came back is part of the result.
        assert!(flown.phases.iter().any(|it| it.1 == Phase::CoolDown));
    }
}

#[test]
fn an_error_in_mid_migration_cancels_and_verifies_a_source_that_lives() {
    for call in [Call::Status, Call::Samples] {
        let works = if call == Call::Samples { 12 } else { 10 };
        let flown = fly("", &faulty(call, works));
        flown.assert_ended("failed verified source");
        flown.assert_verdict_is_true();
        flown.assert_reason_has("Scripted failure");
        assert_eq!(flown.count(Call::Act(Action::Cancel)), 1);
        // Waits until the cancel has had its effect.
        assert_eq!(flown.report.timeline.last().unwrap().state, "cancelled");
    }
}

#[test]
fn an_error_in_mid_migration_does_not_hide_that_it_completed() {
    // The 43rd poll comes at 1050 ms, just past GO: the cancel is refused.
    let flown = fly("", &faulty(Call::Status, 42));
    flown.assert_ended("completed verified destination");
    flown.assert_verdict_is_true();
    flown.assert_reason_has("Scripted failure");
}

#[test]
fn an_error_while_the_answer_is_awaited_leads_to_the_question_to_the_destination() {
    let flown = fly("", &Script { commit: Commit::Silent, ..faulty(Call::Samples, 17) });
    flown.assert_ended("completed verified destination");
    flown.assert_verdict_is_true();
    assert_eq!(flown.count(Call::Settle), 1);
}

#[test]
fn a_source_that_dies_takes_the_guest_with_it() {
    for dies in [0, 5, 500, 1010, 1049] {
        // Found out by the question to the destination, since the source does not answer.
        let flown = fly("", &Script { source_dies: Some(dies), ..Script::default() });
        flown.assert_ended("lost unchecked");
        flown.assert_verdict_is_true();
        flown.assert_reason_has("source host: The process was killed");
        assert_eq!(flown.count(Call::Settle), 1);
    }
}

#[test]
fn a_guest_that_dies_of_its_own_is_lost_by_its_own_fault() {
    for (source_dies_of_guest, cause) in [(true, Some(LostCause::Guest)), (false, None)] {
        let script = Script { source_dies: Some(500), source_dies_of_guest, ..Script::default() };
        let flown = fly("", &script);
        flown.assert_ended("lost unchecked");
        assert_eq!(flown.record.lost_cause, cause);
        let reason = "The guest itself died (kernel panic: out of memory), before the commit point";
        let is_same = flown.record.reason.as_deref() == Some(reason);
        assert_eq!(is_same, source_dies_of_guest, "{:?}", flown.record.reason);
    }
}

#[test]
fn a_source_that_dies_past_the_commit_point_leaves_a_guest_that_runs() {
    let flown = fly("", &Script { source_dies: Some(1060), ..Script::default() });
    flown.assert_ended("completed verified destination");
    flown.assert_verdict_is_true();
    let flown = fly("", &Script { source_dies: Some(2000), ..Script::default() });
    flown.assert_ended("completed verified destination");
    flown.assert_reason_has("after the migration: source host: The process was killed");
}

#[test]
fn a_destination_that_dies_before_the_commit_point_is_the_migrations_failure() {
    for dies in [5, 500, 1010] {
        let flown = fly("", &Script { destination_dies: Some(dies), ..Script::default() });
        flown.assert_ended("failed verified source");
        flown.assert_verdict_is_true();
    }
}

#[test]
fn a_destination_that_dies_later_takes_the_guest_with_it() {
    let broken = Script { commit: Commit::BrokenButRuns, ..Script::default() };
    let flown = fly("", &Script { destination_dies: Some(1055), ..broken });
    flown.assert_ended("lost unchecked");
    flown.assert_verdict_is_true();
    // In the cool-down, after a migration that had completed: only the check of memory finds out.
    let flown = fly("", &Script { destination_dies: Some(1500), ..Script::default() });
    flown.assert_ended("lost unchecked");
    flown.assert_verdict_is_true();
    flown.assert_reason_has("destination host: The process was killed");
}

#[test]
fn a_settling_that_fails_is_a_guest_that_nobody_can_show() {
    let script = Script { commit: Commit::BrokenButRuns, ..faulty(Call::Settle, 0) };
    let flown = fly("", &script);
    flown.assert_ended("lost unchecked");
    flown.assert_reason_has("Scripted failure");
}

#[test]
fn an_error_after_the_migration_leaves_its_verdict() {
    let samples = fly("", &faulty(Call::Samples, 20));
    samples.assert_ended("completed verified destination");
    samples.assert_reason_has("after the migration: Scripted failure");
    let verify = fly("", &faulty(Call::Verify(Side::Source), 0));
    verify.assert_ended("completed unchecked");
    verify.assert_reason_has("after the migration: Scripted failure");
    assert!(verify.report.warnings.iter().any(|it| it.code == "unverified"));
}
