//! Post-copy that takes longer than it may.

use sterna_pilot::{Action, Phase};
use sterna_report::{Side, Verdict};

use crate::flown::{Flown, fly, fly_and_press};
use crate::scripted::{Call, Commit, Script};

/// A post-copy of an hour, which begins about a second after the migrate command.
fn endless() -> Script {
    Script { commit: Commit::Postcopy(3_600_000), ..Script::default() }
}

fn lifted_at(flown: &Flown) -> Vec<f64> {
    flown.seconds_of(Call::Act(Action::LiftPostcopyLimit))
}

#[test]
fn a_limit_in_post_copy_lifts_the_bandwidth_limit_and_keeps_the_guest() {
    let flown = fly("[limits]\nmax-time = \"5s\"", &endless());
    let lifted = lifted_at(&flown);
    assert!(lifted.len() == 1 && (5.0..5.1).contains(&lifted[0]), "{lifted:?}");
    assert_eq!((flown.record.verdict, flown.guest), (Verdict::Completed, Some(Side::Destination)));
    let codes: Vec<_> = flown.report.warnings.iter().map(|it| it.code.as_str()).collect();
    assert!(codes.contains(&"postcopy-over-limit"), "{codes:?}");
    assert!(flown.seconds_of(Call::Act(Action::Cancel)).is_empty());
}

#[test]
fn post_copy_within_its_limit_keeps_its_bandwidth_limit() {
    let script = Script { commit: Commit::Postcopy(3000), ..Script::default() };
    let flown = fly("[limits]\nmax-time = \"5s\"", &script);
    assert!(lifted_at(&flown).is_empty());
    assert_eq!(flown.record.postcopy_over_limit, None);
    assert_eq!(flown.record.verdict, Verdict::Completed);
}

#[test]
fn an_interrupt_in_post_copy_lifts_the_bandwidth_limit() {
    let flown = fly_and_press("", &endless(), &[(Phase::Migrate, 2000)]);
    let lifted = lifted_at(&flown);
    assert!(lifted.len() == 1 && (2.0..2.1).contains(&lifted[0]), "{lifted:?}");
    assert_eq!(flown.record.verdict, Verdict::Interrupted);
    assert_eq!(flown.guest, Some(Side::Destination));
}

#[test]
fn a_guest_is_given_up_in_post_copy_only_where_the_scenario_says_so() {
    let limits = "[limits]\nmax-time = \"none\"\nabandon-postcopy-after = \"10s\"";
    let flown = fly(limits, &endless());
    assert_eq!(flown.record.verdict, Verdict::Lost);
    let reason = flown.record.reason.clone().unwrap();
    assert!(reason.contains("limits.abandon-postcopy-after"), "{reason}");
    assert!(lifted_at(&flown).is_empty());
    let end = flown.seconds_of(Call::Shutdown)[0];
    assert!((11.0..11.5).contains(&end), "{end}");
}
