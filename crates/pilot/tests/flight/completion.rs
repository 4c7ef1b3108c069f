//! Migrations that complete.

use sterna_pilot::{Action, Phase};
use sterna_report::Side;

use crate::flown::{Flown, fly};
use crate::scripted::{Call, Commit, MS, Script};

#[track_caller]
fn assert_near(found: Option<f64>, expected: f64) {
    let found = found.expect("a number");
    assert!((found - expected).abs() < 1e-6, "{found} in place of {expected}");
}

#[test]
fn the_engine_is_called_in_order_and_the_guest_verified_where_it_is() {
    let flown = fly("", &Script::default());
    flown.assert_ended("completed verified destination");
    flown.assert_verdict_is_true();
    assert_eq!(flown.summary().verdict_reason, None);
    let verify = Call::Verify(Side::Destination);
    let order = [Call::Boot, Call::Migrate, Call::Status, verify, Call::Warnings, Call::Shutdown];
    assert_eq!(flown.order(), order);
    let phases: Vec<Phase> = flown.phases.iter().map(|it| it.1).collect();
    use Phase::{Boot, CoolDown, Migrate, Shutdown, Verify, WarmUp};
    assert_eq!(phases, [Boot, WarmUp, Migrate, CoolDown, Verify, Shutdown]);
}

#[test]
fn polls_come_at_20_hz_or_faster_and_samples_in_every_phase() {
    let flown = fly("", &Script::default());
    let polls = &flown.report.timeline;
    assert!(polls.len() >= 1061 / 50, "{}", polls.len());
    for pair in polls.windows(2) {
        assert!(pair[1].t_seconds - pair[0].t_seconds <= 0.05);
    }
    for (began_ns, phase) in &flown.phases {
        let end_ns = flown.phases.iter().map(|it| it.0).find(|it| it > began_ns);
        let within = |it: &&(u64, Call)| it.0 >= *began_ns && end_ns.is_none_or(|end| it.0 < end);
        let fetched = flown.calls.iter().filter(within).filter(|it| it.1 == Call::Samples).count();
        let least = match phase {
            Phase::WarmUp | Phase::CoolDown => 10,
            Phase::Migrate => 5,
            Phase::Boot | Phase::Verify | Phase::Shutdown => 0,
        };
        assert!(fetched >= least, "{fetched} in {phase:?}");
    }
    // No time of the guest is left out between the warm-up and the end of the cool-down, but for the standstill.
    let covered: f64 = flown.report.guest.iter().map(|it| it.interval_seconds).sum();
    assert!(covered > 4.9, "{covered}");
}

#[test]
fn polls_stay_at_20_hz_when_each_takes_its_time() {
    let flown = fly("", &Script { status_takes: 20, ..Script::default() });
    for pair in flown.report.timeline.windows(2) {
        assert!(pair[1].t_seconds - pair[0].t_seconds <= 0.05);
    }
    let slow = fly("", &Script { status_takes: 80, ..Script::default() });
    assert!(slow.report.warnings.iter().any(|it| it.code == "polls-late"));
}

#[test]
fn the_numbers_are_those_of_the_script() {
    let flown = fly("", &Script::default());
    let summary = flown.summary();
    assert_near(summary.total_time_seconds, 1.06);
    assert_near(summary.setup_seconds, 0.02);
    assert_near(summary.downtime_seconds, 0.06);
    assert_near(summary.downtime_uncertainty_seconds, 40e-6);
    assert_near(summary.final_sync_seconds, 0.001);
    assert_near(summary.final_transfer_seconds, 0.049);
    assert_near(summary.resume_seconds, 0.01);
    assert_near(summary.blackout_seconds, 0.06);
    assert_near(summary.lost_work_seconds, 0.06);
    assert_eq!(summary.lost_work_lower_bound, Some(false));
    assert_near(summary.baseline_pages_per_second, 2000.0);
    assert_near(summary.touch_rate_pages_per_second, 2000.0);
    assert_near(summary.resumption.at_95_percent_seconds, 0.0);
    assert_eq!(summary.passes, 2);
    assert_eq!(flown.report.warnings, []);
    // Timed in 2 s of warm-up, and in the 1 s until the stop on top; the cool-down does not count.
    assert_eq!(summary.write_latency.baseline.unwrap().samples, 2000);
    assert_eq!(summary.write_latency.during.unwrap().samples, 3000);
}

#[test]
fn the_downtime_limit_is_stretched_step_by_step() {
    let toml =
        "[migration.downtime]\nfrom = \"100ms\"\nto = \"300ms\"\nsteps = 3\nevery = \"300ms\"";
    let flown = fly(toml, &Script::default());
    flown.assert_ended("completed verified destination");
    assert_eq!(flown.seconds_of(Call::Act(Action::SetDowntimeLimit(200 * MS))), [0.3]);
    assert_eq!(flown.seconds_of(Call::Act(Action::SetDowntimeLimit(300 * MS))), [0.6]);
    assert!(flown.has_event("downtime-limit"));
}

#[test]
fn a_step_that_the_engine_refuses_does_not_end_the_flight() {
    let toml =
        "[migration.downtime]\nfrom = \"100ms\"\nto = \"300ms\"\nsteps = 3\nevery = \"300ms\"";
    let fault = Some((Call::Act(Action::Cancel), 0));
    let flown = fly(toml, &Script { fault, ..Script::default() });
    flown.assert_ended("completed verified destination");
    let refused = |it: &str| it.contains("the migration goes on: Scripted failure");
    assert!(flown.report.events.iter().any(|it| refused(&it.text)));
}

#[test]
fn wrong_memory_is_corrupt_whatever_the_verdict() {
    let corrupt = Script { corrupt_pages: 3, ..Script::default() };
    let flown = fly("", &corrupt);
    flown.assert_ended("completed corrupt destination");
    assert_eq!(flown.report.exit_code(), 4);
    let flown = fly("[limits]\nmax-time = \"500ms\"", &corrupt);
    flown.assert_ended("cancelled corrupt source");
    assert_eq!(flown.report.exit_code(), 4);
}

#[track_caller]
fn assert_asked_and_running(flown: &Flown) {
    flown.assert_ended("completed verified destination");
    flown.assert_verdict_is_true();
    assert_eq!(flown.count(Call::Settle), 1);
    assert!(flown.has_event("settled"));
    assert_near(flown.summary().downtime_seconds, 0.06);
}

#[test]
fn without_an_answer_past_the_commit_point_the_destination_is_asked() {
    assert_asked_and_running(&fly(
        "",
        &Script { commit: Commit::BrokenButRuns, ..Script::default() },
    ));
    let silent = fly("", &Script { commit: Commit::Silent, ..Script::default() });
    assert_asked_and_running(&silent);
    let asked = silent.seconds_of(Call::Settle)[0];
    assert!((30.0..32.0).contains(&asked), "{asked}");
}

#[test]
fn a_guest_that_no_side_runs_is_lost_and_neither_watched_nor_verified() {
    let flown = fly("", &Script { commit: Commit::BrokenAndLost, ..Script::default() });
    flown.assert_ended("lost unchecked");
    flown.assert_verdict_is_true();
    flown.assert_reason_has("In the engine's own words; no side can run the guest");
    assert!(!flown.phases.iter().any(|it| it.1 == Phase::CoolDown));
    let summary = flown.summary();
    assert_eq!(summary.downtime_seconds, None);
    assert_eq!(summary.blackout_seconds, None);
    assert_ne!(summary.lost_work_lower_bound, Some(false));
}
