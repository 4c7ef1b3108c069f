//! A flight without a pilot: the model and the policy, nothing else.

use std::sync::Arc;

use sterna_converge::{Action, Policy, Situation};

use crate::flight::{Flight, Plan, Stage};
use crate::outcome::Outcome;

/// Nothing is simulated beyond this: thirty days.
const LONGEST_NS: u64 = 30 * 86_400 * 1_000_000_000;

/// Flies a plan under a policy to its end. A migration that nothing ends is cancelled after thirty days.
pub fn fly(plan: &Arc<Plan>, policy: Policy) -> Outcome {
    fly_watched(plan, policy, &mut |_| ())
}

/// The same; `watch` sees each action at its moment.
pub fn fly_watched(
    plan: &Arc<Plan>,
    mut policy: Policy,
    watch: &mut dyn FnMut((u64, Action)),
) -> Outcome {
    let mut flight = Flight::new(Arc::clone(plan));
    steer(&mut flight, &mut policy, watch);
    let mut next_change_ns = flight.next_change_ns();
    while let Some(change_ns) = next_change_ns {
        let moment_ns = policy.next_moment_ns(flight.now_ns()).unwrap_or(u64::MAX);
        let is_change = change_ns <= moment_ns;
        flight.advance(change_ns.min(moment_ns));
        if flight.now_ns() > LONGEST_NS {
            let _ = flight.act(Action::Cancel);
        }
        let has_acted = steer(&mut flight, &mut policy, watch);
        if is_change || has_acted {
            next_change_ns = flight.next_change_ns();
        }
    }
    flight.into_outcome()
}

/// Asks the policy; whether it did something.
fn steer(flight: &mut Flight, policy: &mut Policy, watch: &mut dyn FnMut((u64, Action))) -> bool {
    if flight.is_over() || flight.stage() == Stage::Postcopy {
        return false;
    }
    let situation = Situation {
        elapsed_ns: flight.now_ns(),
        passes: u64::from(flight.outcome().completed_passes()),
        guest_runs: flight.stage() != Stage::Switchover,
    };
    let Some(ruling) = policy.decide(situation) else { return false };
    let is_done = flight.act(ruling.action).is_ok();
    if is_done {
        watch((flight.now_ns(), ruling.action));
        if ruling.kind == "limit" && ruling.action != Action::Cancel {
            flight.force();
        }
    } else if ruling.kind == "limit" && ruling.action == Action::StartPostcopy {
        // A limit must end the migration one way or the other.
        return flight.act(Action::Cancel).is_ok();
    }
    is_done
}
