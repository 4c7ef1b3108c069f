//! What goes wrong on purpose must be able to.

use super::Findings;
use crate::types::{Fault, FaultAction, FaultChannel, FaultMoment, LimitAction, Scenario};

pub(super) fn check(scenario: &Scenario, found: &mut Findings) {
    let faults = || scenario.faults.iter().flat_map(|it| &it.0);
    let in_postcopy = faults().any(|it| matches!(it.moment, FaultMoment::Postcopy(_)));
    let has_postcopy =
        scenario.migration.postcopy.is_some() || scenario.limits.then == LimitAction::Postcopy;
    found.refuse_if(in_postcopy && !has_postcopy, &["faults"], || {
        "Field `faults` has a moment `at-postcopy`, but there is no post-copy; ask for migration.postcopy, or choose another moment".to_owned()
    });
    for fault in faults() {
        channel(scenario, fault, found);
    }
}

fn channel(scenario: &Scenario, fault: &Fault, found: &mut Findings) {
    let Fault { channel, side, action, .. } = *fault;
    let (field, way_out) = match channel {
        FaultChannel::Main => return,
        FaultChannel::Multifd(_) => {
            ("migration.multifd.channels", "their numbers are those below it, and start at 0")
        }
        FaultChannel::Preempt => {
            ("migration.postcopy.preempt", "it exists in post-copy with preempt = true")
        }
    };
    let exists = channel.is_in(&scenario.migration);
    found.refuse_if(!exists, &["faults", field], || {
        format!(
            "Field `faults` has the channel {channel}, which this migration does not have; see `{field}`: {way_out}"
        )
    });
    let is_silent = action == FaultAction::Corrupt && !channel.is_spoken_on(side);
    found.refuse_if(exists && is_silent, &["faults"], || {
        format!(
            "Field `faults` would corrupt what the {side} sends on the channel {channel}, where it sends nothing; choose the other side or another channel"
        )
    });
}
