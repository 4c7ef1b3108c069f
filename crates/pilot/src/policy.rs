//! What to do about a migration under way: limits, pauses, a downtime that is stretched step by step.

use sterna_scenario::{Downtime, LimitAction, Scenario, Trigger};

use crate::Action;

/// The decisions of one flight; pure, so that a table can test it and every engine gets the same.
#[derive(Clone, Debug)]
pub struct Policy {
    scenario: Scenario,
    steps_taken: u32,
    is_ending: bool,
}

/// What was decided, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What to do.
    pub action: Action,
    /// One stable word for the event.
    pub kind: &'static str,
    /// One sentence for people; for a limit also the verdict's reason.
    pub text: String,
}

/// Where the migration stands, as far as the policy looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Situation {
    /// Time since the migrate command was accepted.
    pub elapsed_ns: u64,
    /// Passes completed.
    pub passes: u64,
}

impl Policy {
    /// The policy of a scenario.
    pub fn new(scenario: &Scenario) -> Policy {
        Policy { scenario: scenario.clone(), steps_taken: 0, is_ending: false }
    }

    /// What to do now; each thing is decided once.
    pub fn decide(&mut self, now: Situation) -> Option<Decision> {
        if self.is_ending {
            return None;
        }
        let ending = self.limit(now).or_else(|| self.pause(now)).or_else(|| self.postcopy(now));
        if let Some((action, kind, text)) = ending {
            self.is_ending = true;
            return Some(Decision { action, kind, text });
        }
        self.next_downtime_step(now)
    }

    fn limit(&self, now: Situation) -> Option<(Action, &'static str, String)> {
        let limits = &self.scenario.limits;
        let text = if let Some(most) = limits.max_passes.filter(|it| now.passes >= u64::from(*it)) {
            format!("Limit reached: {} passes (limits.max-passes = {most})", now.passes)
        } else if let Some(most) = limits.max_time.filter(|it| is_over(now, it.0)) {
            format!(
                "Limit reached: {:.1} s after {} passes (limits.max-time = {most})",
                now.elapsed_ns as f64 / 1e9,
                now.passes
            )
        } else {
            return None;
        };
        let action = match limits.then {
            LimitAction::Cancel => Action::Cancel,
            LimitAction::Pause => Action::Pause,
            LimitAction::Postcopy => Action::StartPostcopy,
        };
        Some((action, "limit", text))
    }

    fn pause(&self, now: Situation) -> Option<(Action, &'static str, String)> {
        let trigger = self.scenario.migration.pause.as_ref()?.trigger;
        is_due(trigger, now).then(|| {
            let text = match trigger {
                Trigger::AfterPasses(passes) => format!("Paused after {passes} passes"),
                Trigger::After(time) => format!("Paused after {time}"),
            };
            (Action::Pause, "pause", format!("{text} as the scenario asks (migration.pause)"))
        })
    }

    fn postcopy(&self, now: Situation) -> Option<(Action, &'static str, String)> {
        let trigger = self.scenario.migration.postcopy.as_ref()?.trigger?;
        is_due(trigger, now).then(|| {
            let text = match trigger {
                Trigger::AfterPasses(passes) => format!("Post-copy after {passes} passes"),
                Trigger::After(time) => format!("Post-copy after {time}"),
            };
            let text = format!("{text} as the scenario asks (migration.postcopy)");
            (Action::StartPostcopy, "postcopy", text)
        })
    }

    fn next_downtime_step(&mut self, now: Situation) -> Option<Decision> {
        let Downtime::Steps(steps) = &self.scenario.migration.downtime else { return None };
        let every_ns = u64::try_from(steps.every.0.as_nanos()).unwrap_or(u64::MAX).max(1);
        let due = u32::try_from(now.elapsed_ns / every_ns).unwrap_or(u32::MAX);
        let due = due.min(steps.steps.saturating_sub(1));
        if due <= self.steps_taken {
            return None;
        }
        self.steps_taken = due;
        let limit = steps.limit(due);
        Some(Decision {
            action: Action::SetDowntimeLimit(limit.0.as_nanos() as u64),
            kind: "downtime-limit",
            text: format!("Downtime limit raised to {limit} (step {} of {})", due + 1, steps.steps),
        })
    }
}

fn is_due(trigger: Trigger, now: Situation) -> bool {
    match trigger {
        Trigger::AfterPasses(passes) => now.passes >= u64::from(passes),
        Trigger::After(time) => is_over(now, time.0),
    }
}

fn is_over(now: Situation, time: std::time::Duration) -> bool {
    u128::from(now.elapsed_ns) >= time.as_nanos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(toml: &str) -> Scenario {
        Scenario::from_toml(toml, "test.toml").unwrap()
    }

    /// Asks every 500 ms, with one pass completed each second, and notes what was decided when.
    #[track_caller]
    fn check(toml: &str, expected: &[(f64, Action)]) {
        let mut policy = Policy::new(&scenario(toml));
        let mut found = Vec::new();
        for half_seconds in 0..60u64 {
            let now =
                Situation { elapsed_ns: half_seconds * 500_000_000, passes: half_seconds / 2 };
            if let Some(decision) = policy.decide(now) {
                found.push((half_seconds as f64 / 2.0, decision.action));
            }
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn limits_pauses_and_steps_come_when_they_are_due_and_once() {
        check("", &[]);
        check("[limits]\nmax-time = \"2500ms\"", &[(2.5, Action::Cancel)]);
        check("[limits]\nmax-passes = 3\nthen = \"pause\"", &[(3.0, Action::Pause)]);
        check("[migration.pause]\nafter-passes = 5", &[(5.0, Action::Pause)]);
        check("[migration.postcopy]\nafter-passes = 2", &[(2.0, Action::StartPostcopy)]);
        check("[migration.postcopy]\nafter = \"1500ms\"", &[(1.5, Action::StartPostcopy)]);
        check(
            "[migration.postcopy]\n[limits]\nmax-passes = 4\nthen = \"postcopy\"",
            &[(4.0, Action::StartPostcopy)],
        );
        check(
            "[migration.pause]\nafter = \"1s\"\n[limits]\nmax-time = \"9s\"",
            &[(1.0, Action::Pause)],
        );
        check(
            "[migration.downtime]\nfrom = \"100ms\"\nto = \"300ms\"\nsteps = 3\nevery = \"2s\"",
            &[
                (2.0, Action::SetDowntimeLimit(200_000_000)),
                (4.0, Action::SetDowntimeLimit(300_000_000)),
            ],
        );
    }
}
