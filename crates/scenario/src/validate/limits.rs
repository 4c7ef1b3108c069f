//! Limits, times, and what would never come to pass.

use sterna_units::Span;

use super::Findings;
use crate::types::{LimitAction, Scenario, Trigger};

/// Nobody waits longer for one migration, and clocks can still be added to.
const LONGEST: Span = Span::from_secs(30 * 24 * 3600);
const LONGEST_LINK_LATENCY: Span = Span::from_secs(10);
const LEAST_SAMPLE_INTERVAL: Span = Span::from_millis(1);
const LONGEST_SAMPLE_INTERVAL: Span = Span::from_secs(60);

/// The fields that say when.
struct When {
    after_passes: &'static str,
    after: &'static str,
}

const POSTCOPY: When =
    When { after_passes: "migration.postcopy.after-passes", after: "migration.postcopy.after" };
const PAUSE: When =
    When { after_passes: "migration.pause.after-passes", after: "migration.pause.after" };

pub(super) fn check(scenario: &Scenario, found: &mut Findings) {
    let limits = &scenario.limits;
    for (field, is_zero) in [
        ("limits.max-time", limits.max_time.is_some_and(Span::is_zero)),
        ("limits.max-passes", limits.max_passes == Some(0)),
        ("limits.abandon-postcopy-after", limits.abandon_postcopy_after.is_some_and(Span::is_zero)),
    ] {
        found.refuse_if(is_zero, &[field], || {
            format!("Field `{field}` is 0, so that the migration would end before it begins; raise it, or say `none`")
        });
    }
    times(scenario, found);
    link(scenario, found);
    never_reached(scenario, found);
}

fn times(scenario: &Scenario, found: &mut Findings) {
    let timing = &scenario.timing;
    let field = "timing.sample-interval";
    found.range(field, timing.sample_interval, LEAST_SAMPLE_INTERVAL, LONGEST_SAMPLE_INTERVAL);
    let steps = scenario.migration.downtime.steps();
    let times = [
        ("timing.warmup", Some(timing.warmup)),
        ("timing.cooldown", Some(timing.cooldown)),
        ("limits.max-time", scenario.limits.max_time),
        ("migration.downtime.every", steps.map(|steps| steps.every)),
        (POSTCOPY.after, postcopy_trigger(scenario).and_then(|at| at.after().copied())),
        (PAUSE.after, pause_trigger(scenario).and_then(|at| at.after().copied())),
    ];
    for (field, time) in times {
        let Some(time) = time else { continue };
        found.refuse_if(time > LONGEST, &[field], || {
            format!("Field `{field}` is {time}; it must be at most 30 days")
        });
    }
}

fn link(scenario: &Scenario, found: &mut Findings) {
    let Some(link) = &scenario.link else { return };
    found.range("link.latency", link.latency, Span::default(), LONGEST_LINK_LATENCY);
    found.some_rate(
        "link.bandwidth",
        link.bandwidth,
        "give a rate such as 1Gbit/s, or `unlimited`",
    );
}

/// A moment that lies behind a limit never comes, and the run would show something else than was asked for.
fn never_reached(scenario: &Scenario, found: &mut Findings) {
    let limits = &scenario.limits;
    let triggers = [
        (POSTCOPY, postcopy_trigger(scenario), LimitAction::Postcopy),
        (PAUSE, pause_trigger(scenario), LimitAction::Pause),
    ];
    for (fields, trigger, same_action) in triggers {
        // A limit that does the same is only an earlier moment for it.
        if limits.then == same_action {
            continue;
        }
        match (trigger, limits.max_passes, limits.max_time) {
            (Some(Trigger::AfterPasses(passes)), Some(most), _) => {
                behind(fields.after_passes, passes, "limits.max-passes", most, found);
            }
            (Some(Trigger::After(time)), _, Some(most)) => {
                behind(fields.after, time, "limits.max-time", most, found);
            }
            _ => {}
        }
    }
    if let (Some(hold), Some(most)) = (&scenario.migration.hold, limits.max_passes) {
        behind(
            "migration.hold.at-least-passes",
            hold.at_least_passes,
            "limits.max-passes",
            most,
            found,
        );
    }
}

fn behind<T: PartialOrd + std::fmt::Display>(
    field: &'static str,
    value: T,
    limit: &'static str,
    most: T,
    found: &mut Findings,
) {
    found.refuse_if(value > most, &[field, limit], || {
        format!("Field `{field}` is {value}, but `{limit}` ends the wait at {most}; lower the first or raise the second")
    });
}

fn postcopy_trigger(scenario: &Scenario) -> Option<Trigger> {
    scenario.migration.postcopy.as_ref().and_then(|postcopy| postcopy.trigger)
}

fn pause_trigger(scenario: &Scenario) -> Option<Trigger> {
    scenario.migration.pause.as_ref().map(|pause| pause.trigger)
}
