//! What to do about a migration under way: limits, pauses, a downtime that is stretched step by step.

use std::time::Duration;

use sterna_scenario::{Downtime, LimitAction, Limits, Pause, Postcopy, Scenario, Trigger};

use crate::Action;

/// The decisions of one flight; pure, so that a table can test it and every engine gets the same.
#[derive(Clone, Debug)]
pub struct Policy {
    limits: Limits,
    pause: Option<Pause>,
    postcopy: Option<Postcopy>,
    downtime: Downtime,
    steps_taken: u32,
    ending: Option<Ending>,
}

/// How the policy has decided to end the migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The scenario had the guest stopped or switched; a limit may still give up on the rest.
    Chosen,
    /// A limit has spoken; nothing comes after it.
    Limit,
}

/// What was decided, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Ruling {
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
    /// Whether the guest still runs; once it is stopped, only giving up is left to decide.
    pub guest_runs: bool,
}

impl Policy {
    /// The policy of a scenario.
    pub fn new(scenario: &Scenario) -> Policy {
        let migration = &scenario.migration;
        Policy {
            limits: scenario.limits.clone(),
            pause: migration.pause.clone(),
            postcopy: migration.postcopy.clone(),
            downtime: migration.downtime.clone(),
            steps_taken: 0,
            ending: None,
        }
    }

    /// What to do now; each thing is decided once.
    pub fn decide(&mut self, now: Situation) -> Option<Ruling> {
        if self.ending == Some(Ending::Limit) {
            return None;
        }
        let may_pause = now.guest_runs && self.ending.is_none();
        let is_allowed = |it: &Ruling| may_pause || it.action == Action::Cancel;
        if let Some(limit) = self.limit(now).filter(is_allowed) {
            self.ending = Some(Ending::Limit);
            return Some(limit);
        }
        if !may_pause {
            return None;
        }
        if let Some(chosen) = self.pause(now).or_else(|| self.postcopy(now)) {
            self.ending = Some(Ending::Chosen);
            return Some(chosen);
        }
        self.next_downtime_step(now)
    }

    /// The next moment after the migrate command, later than `elapsed_ns`, at which time alone makes something due; for simulated time, which jumps from event to event.
    pub fn next_moment_ns(&self, elapsed_ns: u64) -> Option<u64> {
        let time = |it: Option<Trigger>| it.as_ref().and_then(Trigger::after).copied();
        let fixed = [
            self.limits.max_time,
            time(self.pause.as_ref().map(|it| it.trigger)),
            time(self.postcopy.as_ref().and_then(|it| it.trigger)),
        ];
        let step = self.downtime.steps().and_then(|it| {
            let every_ns = ns(it.every.0).max(1);
            let next = elapsed_ns / every_ns + 1;
            (next < u64::from(it.steps)).then(|| next.saturating_mul(every_ns))
        });
        let fixed = fixed.into_iter().flatten().map(|it| ns(it.0));
        fixed.chain(step).filter(|it| *it > elapsed_ns).min()
    }

    fn limit(&self, now: Situation) -> Option<Ruling> {
        let limits = &self.limits;
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
        Some(Ruling { action, kind: "limit", text })
    }

    fn pause(&self, now: Situation) -> Option<Ruling> {
        let trigger = self.pause.as_ref()?.trigger;
        is_due(trigger, now).then(|| {
            let text = match trigger {
                Trigger::AfterPasses(passes) => format!("Paused after {passes} passes"),
                Trigger::After(time) => format!("Paused after {time}"),
            };
            let text = format!("{text} as the scenario asks (migration.pause)");
            Ruling { action: Action::Pause, kind: "pause", text }
        })
    }

    fn postcopy(&self, now: Situation) -> Option<Ruling> {
        let trigger = self.postcopy.as_ref()?.trigger?;
        is_due(trigger, now).then(|| {
            let text = match trigger {
                Trigger::AfterPasses(passes) => format!("Post-copy after {passes} passes"),
                Trigger::After(time) => format!("Post-copy after {time}"),
            };
            let text = format!("{text} as the scenario asks (migration.postcopy)");
            Ruling { action: Action::StartPostcopy, kind: "postcopy", text }
        })
    }

    fn next_downtime_step(&mut self, now: Situation) -> Option<Ruling> {
        let Downtime::Steps(steps) = &self.downtime else { return None };
        let every_ns = ns(steps.every.0).max(1);
        let due = u32::try_from(now.elapsed_ns / every_ns).unwrap_or(u32::MAX);
        let due = due.min(steps.steps.saturating_sub(1));
        if due <= self.steps_taken {
            return None;
        }
        self.steps_taken = due;
        let limit = steps.limit(due);
        Some(Ruling {
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

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn is_over(now: Situation, time: Duration) -> bool {
    u128::from(now.elapsed_ns) >= time.as_nanos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(toml: &str) -> Scenario {
        Scenario::from_toml(toml, "test.toml").unwrap()
    }

    /// Asks every 500 ms, with one pass completed each second, and notes what was decided when. The guest is stopped at `stop` or by a pause.
    fn decisions(toml: &str, stop: f64) -> Vec<(f64, Action)> {
        let mut policy = Policy::new(&scenario(toml));
        let mut found: Vec<(f64, Action)> = Vec::new();
        for half_seconds in 0..60u64 {
            let seconds = half_seconds as f64 / 2.0;
            let is_paused = found.iter().any(|it| it.1 == Action::Pause);
            let now = Situation {
                elapsed_ns: half_seconds * 500_000_000,
                passes: half_seconds / 2,
                guest_runs: seconds < stop && !is_paused,
            };
            found.extend(policy.decide(now).map(|it| (seconds, it.action)));
        }
        found
    }

    #[track_caller]
    fn check(toml: &str, expected: &[(f64, Action)]) {
        assert_eq!(decisions(toml, f64::INFINITY), expected);
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
            &[(1.0, Action::Pause), (9.0, Action::Cancel)],
        );
        check(
            "[migration.pause]\nafter = \"1s\"\n[limits]\nmax-time = \"9s\"\nthen = \"pause\"",
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

    #[test]
    fn the_next_moment_is_the_earliest_of_limit_trigger_and_downtime_step() {
        let policy = Policy::new(&scenario(
            "[migration.pause]\nafter = \"4500ms\"\n[limits]\nmax-time = \"9s\"\n[migration.downtime]\nfrom = \"100ms\"\nto = \"300ms\"\nsteps = 3\nevery = \"2s\"",
        ));
        let next = |ms: u64| policy.next_moment_ns(ms * 1_000_000).map(|it| it / 1_000_000);
        let found: Vec<_> = [0, 2000, 4000, 4500, 9000].into_iter().map(next).collect();
        assert_eq!(found, [Some(2000), Some(4000), Some(4500), Some(9000), None]);
    }

    #[test]
    fn once_the_guest_stands_still_only_giving_up_is_left() {
        let pause = "[migration.pause]\nafter = \"3s\"";
        assert_eq!(decisions(pause, 3.0), []);
        let limit = |then: &str| format!("[limits]\nmax-time = \"3s\"\nthen = \"{then}\"");
        assert_eq!(decisions(&limit("pause"), 3.0), []);
        assert_eq!(decisions(&limit("cancel"), 3.0), [(3.0, Action::Cancel)]);
    }
}
