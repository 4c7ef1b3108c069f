//! Limits and pauses.

use sterna_pilot::Action;
use sterna_report::PassKind;

use crate::flown::fly;
use crate::scripted::{Call, Cancel, Script};

/// A migration that does not converge.
fn endless() -> Script {
    Script { stop: None, ..Script::default() }
}

#[test]
fn a_limit_cancels_and_the_source_is_verified() {
    let flown = fly("[limits]\nmax-time = \"3s\"", &endless());
    flown.assert_ended("cancelled verified source");
    flown.assert_verdict_is_true();
    flown.assert_reason_has("limits.max-time = 3s");
    assert_eq!(flown.report.exit_code(), 3);
    assert_eq!(flown.seconds_of(Call::Act(Action::Cancel)), [3.0]);
    let summary = flown.summary();
    assert_eq!(summary.total_time_seconds, Some(3.03));
    assert_eq!(summary.downtime_seconds, None);
    assert_eq!(summary.convergence_pass, None);
    // The last good status is kept.
    assert!(summary.wire_bytes.unwrap() > 3_000_000);
}

#[test]
fn a_limit_ends_the_run_also_when_the_engine_refuses_the_cancel() {
    let fault = Some((Call::Act(Action::Cancel), 0));
    let flown = fly("[limits]\nmax-time = \"3s\"", &Script { fault, ..endless() });
    flown.assert_verdict_is_true();
    flown.assert_reason_has("did not end within 15 s");
    let ended = flown.seconds_of(Call::Shutdown);
    assert!((18.0..20.0).contains(&ended[0]), "{ended:?}");
}

#[test]
fn the_pass_that_was_cut_off_has_a_row_with_what_is_known() {
    let flown = fly("[limits]\nmax-passes = 3", &endless());
    flown.assert_ended("cancelled verified source");
    flown.assert_reason_has("limits.max-passes = 3");
    assert_eq!(flown.summary().passes, 3);
    let last = flown.report.passes.last().unwrap();
    assert_eq!((last.number, last.kind, last.length_seconds), (4, PassKind::Pass, None));
    assert!((last.started_seconds - 1.22).abs() < 1e-9);
    // 1000 bytes and one page each millisecond, less three rows of 400 kB and 100 pages.
    let sent = flown.summary().wire_bytes.unwrap();
    assert_eq!(last.wire_bytes, Some(sent - 1_200_000));
    assert_eq!(last.pages_sent, Some(sent / 1000 - 300));
    assert_eq!((last.sync_seconds, last.dirty_pages_at_sync), (None, None));
}

#[test]
fn a_limit_pauses_and_the_completion_is_forced() {
    let flown = fly("[limits]\nmax-time = \"3s\"\nthen = \"pause\"", &endless());
    flown.assert_ended("completed-forced verified destination");
    flown.assert_verdict_is_true();
    flown.assert_reason_has("limits.max-time = 3s");
    assert_eq!(flown.report.exit_code(), 0);
    assert_eq!(flown.summary().convergence_pass, None);
    assert_eq!(flown.summary().total_time_seconds, Some(3.06));
}

#[test]
fn a_pause_that_the_scenario_asks_for_is_forced_too() {
    let flown = fly("[migration.pause]\nafter-passes = 2", &endless());
    flown.assert_ended("completed-forced verified destination");
    flown.assert_reason_has("migration.pause");
    assert_eq!(flown.summary().passes, 2);
}

#[test]
fn a_pause_that_comes_after_the_stop_is_not_sent() {
    let flown = fly("[migration.pause]\nafter = \"1010ms\"", &Script::default());
    flown.assert_ended("completed verified destination");
    assert_eq!(flown.count(Call::Act(Action::Pause)), 0);
    assert_eq!(flown.summary().convergence_pass, Some(1));
}

#[test]
fn a_limit_gives_up_on_a_switchover_that_takes_too_long() {
    // At 1025 ms the guest has been stopped for 25 ms, and another 25 ms are missing to READY.
    let script = Script { cancel: Cancel::After(5), ..Script::default() };
    let flown = fly("[limits]\nmax-time = \"1025ms\"", &script);
    flown.assert_ended("cancelled verified source");
    flown.assert_verdict_is_true();
    let summary = flown.summary();
    assert_eq!(summary.downtime_seconds, None);
    assert!(summary.blackout_seconds.is_some());
    assert!(summary.lost_work_seconds.unwrap() > 0.0);
    let last = flown.report.passes.last().unwrap();
    assert_eq!((last.number, last.kind, last.length_seconds), (3, PassKind::Final, None));
}

#[test]
fn a_cancel_past_the_commit_point_is_refused_and_the_migration_completes() {
    let flown = fly("[limits]\nmax-time = \"1025ms\"", &Script::default());
    flown.assert_ended("completed verified destination");
    flown.assert_verdict_is_true();
    flown.assert_reason_has("completed before the cancel took effect");
}

#[test]
fn a_cancel_that_does_not_end_is_given_up_after_15_s() {
    let stuck = Script { cancel: Cancel::Ignored, ..endless() };
    let flown = fly("[limits]\nmax-time = \"2s\"", &stuck);
    flown.assert_ended("failed unchecked");
    flown.assert_reason_has("limits.max-time = 2s");
    flown.assert_reason_has("did not end within 15 s");
    let (last_poll, _) = flown.calls.iter().rfind(|it| it.1 == Call::Status).unwrap();
    let seconds = (last_poll - flown.record.accepted_ns.unwrap()) as f64 / 1e9;
    assert!((17.0..17.1).contains(&seconds), "{seconds}");
    assert_eq!(flown.summary().total_time_seconds, None);
    assert!(flown.report.warnings.iter().any(|it| it.code == "unverified"));
}
