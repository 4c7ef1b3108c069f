//! A link that is lost in post-copy.

use sterna_pilot::Action;
use sterna_report::{Side, Verdict};

use crate::flown::fly;
use crate::scripted::{Call, Script};

const RECOVER: &str = "[migration.postcopy]\nafter = \"9s\"\nrecover = true";

#[test]
fn a_link_that_comes_back_loses_nothing() {
    let flown = fly(RECOVER, &Script { lost_link: Some(Some(2)), ..Script::default() });
    assert_eq!(flown.record.verdict, Verdict::Completed);
    assert_eq!(flown.guest, Some(Side::Destination));
    let asked = flown.calls.iter().filter(|it| it.1 == Call::Act(Action::Recover)).count();
    assert_eq!(asked, 3);
    let kinds: Vec<_> = flown.record.events.iter().map(|it| it.kind.as_str()).collect();
    assert!(kinds.contains(&"link-lost") && kinds.contains(&"recover"), "{kinds:?}");
}

#[test]
fn a_link_that_stays_away_is_given_up_and_the_guest_with_it() {
    let flown = fly(RECOVER, &Script { lost_link: Some(None), ..Script::default() });
    assert_eq!((flown.record.verdict, flown.guest), (Verdict::Lost, None));
    let reason = flown.record.reason.unwrap();
    assert!(reason.contains("did not come back within 30 s"), "{reason}");
}

#[test]
fn without_recovery_a_lost_link_is_a_lost_guest() {
    let script = Script { lost_link: Some(Some(0)), ..Script::default() };
    let flown = fly("[migration.postcopy]\nafter = \"9s\"", &script);
    assert_eq!((flown.record.verdict, flown.guest), (Verdict::Lost, None));
    let reason = flown.record.reason.unwrap();
    assert!(reason.contains("(migration.postcopy.recover)"), "{reason}");
    assert!(!flown.calls.iter().any(|it| it.1 == Call::Act(Action::Recover)));
}
