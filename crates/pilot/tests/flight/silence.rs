//! Sides that do not answer for a while, or never again.

use sterna_pilot::Action;
use sterna_report::Side;

use crate::flown::{Flown, fly};
use crate::scripted::{Call, Script};

const NEVER: u64 = 1 << 40;
const LIMIT: &str = "[limits]\nmax-time = \"3s\"";

fn has_warning(flown: &Flown, code: &str) -> bool {
    flown.report.warnings.iter().any(|it| it.code == code)
}

#[test]
fn a_source_that_answers_again_completes_and_its_silence_is_named() {
    let silent = Some((Side::Source, 200, 2500));
    let flown = fly("", &Script { silent, stop: Some(3000), ..Script::default() });
    flown.assert_ended("completed verified destination");
    let events: Vec<_> = flown.report.events.iter().filter(|it| it.kind == "silence").collect();
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(events[0].text.contains("The source host has not answered for 1."), "{events:?}");
    assert!(events[1].text.contains("not silent any more"), "{events:?}");
    assert!(has_warning(&flown, "side-silent") && !has_warning(&flown, "polls-late"));
}

#[test]
fn a_limit_ends_the_migration_within_a_second_when_the_source_is_silent() {
    let silent = Some((Side::Source, 1000, NEVER));
    let flown = fly(LIMIT, &Script { silent, stop: None, ..Script::default() });
    flown.assert_ended("lost unchecked");
    flown.assert_reason_has("Limit reached: 3.0 s");
    flown.assert_reason_has("the source host has not answered for 2.0 s");
    let reason = flown.report.summary.verdict_reason.as_deref().unwrap_or_default();
    assert_eq!(reason.matches("has not answered").count(), 1, "{reason}");
    let settled = flown.seconds_of(Call::Settle);
    assert!((3.0..4.0).contains(&settled[0]), "{settled:?}");
}

#[test]
fn a_limit_is_held_at_once_and_names_a_destination_that_is_silent() {
    let silent = Some((Side::Destination, 1000, NEVER));
    let flown = fly(LIMIT, &Script { silent, stop: None, ..Script::default() });
    flown.assert_ended("cancelled verified source");
    flown.assert_reason_has("the destination host has not answered for 2.0 s");
    assert_eq!(flown.seconds_of(Call::Act(Action::Cancel)), [3.0]);
}

#[test]
fn a_source_that_is_silent_without_a_limit_counts_as_gone_after_a_while() {
    let silent = Some((Side::Source, 1000, NEVER));
    let flown = fly("", &Script { silent, stop: None, ..Script::default() });
    flown.assert_ended("lost unchecked");
    let settled = flown.seconds_of(Call::Settle);
    assert!((10.0..13.0).contains(&settled[0]), "{settled:?}");
}
