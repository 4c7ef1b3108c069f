//! From a goal to settings.
//!
//! ```text
//! techniques allowed × downtime limits ──► 60 worlds each ──► those that may keep the goal ──► all worlds
//!                                                                        │
//!             the simplest whose cost is within 5 % of the cheapest ◄── keep it with the confidence asked for
//!                                                                        │ none
//!                                             the one that keeps it most often, and what it would keep instead
//! ```

mod nearest;
mod reasons;
mod what_else;

use sterna_model::{End, Outcome};
use sterna_report::Tool;
use sterna_report::foresight::{
    ADVICE_SCHEMA_NAME, ADVICE_SCHEMA_VERSION, AdviceDocument, Choice, Goal,
};
use sterna_scenario::{LimitAction, Scenario};
use sterna_units::Span;

use crate::commands::{Commands, Target, commands};
use crate::draws::{Draw, draw};
use crate::evidence::Evidence;
use crate::menu::{Price, Technique, techniques};
use crate::predict::{Sampling, flown, outcome};
use crate::quantile;

/// Why there is no advice.
#[derive(Debug, thiserror::Error)]
pub enum AdviseError {
    /// A limit of the goal that no migration can keep or miss.
    #[error("--{limit} {value}: {reason}")]
    Goal {
        /// Which.
        limit: &'static str,
        /// Its value.
        value: String,
        /// What is wrong, and the way out.
        reason: &'static str,
    },
    /// The model knows none of the settings.
    #[error(
        "None of the techniques can be simulated with these settings; leave --what-if out, or report this"
    )]
    NothingToTry,
}

/// One technique with one downtime limit, flown.
pub(crate) struct Candidate {
    pub technique: Technique,
    pub scenario: Scenario,
    /// Its place in the list of techniques; a lower one is simpler.
    pub rank: usize,
    pub flights: Vec<Outcome>,
}

/// Worlds for a first look at all candidates.
const FIRST_LOOK: usize = 60;

/// After the first look, candidates that keep the goal this much less often than asked for may still turn out well.
const MARGIN: f64 = 0.12;

/// Among those that keep the goal, one this much dearer than the cheapest is as good when it is simpler.
const AS_GOOD: f64 = 1.05;

/// Differences of lost work below this are of no account, in guest-seconds.
const SMALL_LOSS_SECONDS: f64 = 0.05;

/// The settings that keep the goal, said to `target`.
///
/// # Errors
/// The goal makes no sense, or nothing can be simulated.
pub fn advise(
    evidence: &Evidence,
    goal: &Goal,
    sampling: Sampling,
    tool: Tool,
    target: &Target,
) -> Result<AdviceDocument, AdviseError> {
    check(goal)?;
    let draws = draw(evidence, sampling.draws, sampling.seed);
    let candidates = candidates(evidence, goal, &draws);
    if candidates.is_empty() {
        return Err(AdviseError::NothingToTry);
    }
    let mut keeping: Vec<&Candidate> =
        candidates.iter().filter(|it| it.keeps(goal) >= goal.confidence).collect();
    keeping.sort_by(|a, b| a.cost().total_cmp(&b.cost()));
    let best = keeping.first().map(|cheapest| {
        let most = AS_GOOD * cheapest.cost() + SMALL_LOSS_SECONDS;
        let as_good = keeping.iter().filter(|it| it.cost() <= most);
        *as_good.min_by_key(|it| it.rank).unwrap_or(cheapest)
    });
    let second = best.and_then(|best| {
        keeping.iter().find(|it| it.technique.name != best.technique.name).copied()
    });
    let chosen = best.or_else(|| nearest::nearest(&candidates, goal));
    let choice = |it: &Candidate| choice(it, &candidates, evidence, goal);
    let found = chosen
        .map_or_else(Commands::default, |it| commands(&evidence.runnable(&it.scenario), target));
    Ok(AdviceDocument {
        schema: ADVICE_SCHEMA_NAME.to_owned(),
        schema_version: ADVICE_SCHEMA_VERSION.to_owned(),
        tool,
        goal: *goal,
        evidence: evidence.document(),
        best: best.map(choice),
        second: second.map(choice),
        nearest: chosen
            .filter(|_| best.is_none())
            .map(|it| nearest::document(it, choice(it), goal)),
        would_change: what_else::would_change(evidence, goal, &draws, best),
        commands: found.commands,
        not_expressible: found.not_expressible,
    })
}

impl Candidate {
    /// The share of worlds in which the whole goal is kept.
    pub fn keeps(&self, goal: &Goal) -> f64 {
        let kept = self.flights.iter().filter(|it| is_kept(it, goal)).count();
        kept as f64 / self.flights.len().max(1) as f64
    }

    /// What it costs: lost work, and a little for time; a simpler order than any price in money.
    fn cost(&self) -> f64 {
        let median = |value: fn(&Outcome) -> f64| {
            let mut values: Vec<f64> = self.flights.iter().map(value).collect();
            values.sort_unstable_by(f64::total_cmp);
            quantile::at(&values, 0.5).unwrap_or(f64::INFINITY)
        };
        median(|it| it.lost_work_seconds) + 0.01 * median(|it| it.total_ns as f64 / 1e9)
    }
}

/// One limit of a goal.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    /// Its flag, without dashes.
    pub name: &'static str,
    /// What it is at most, in seconds.
    pub most_seconds: f64,
    /// What a flight has of it, in seconds.
    pub of: fn(&Outcome) -> f64,
}

/// The limits that were asked for.
pub(crate) fn limits(goal: &Goal) -> impl Iterator<Item = Limit> {
    let limit =
        |name, most: Option<f64>, of| most.map(|most_seconds| Limit { name, most_seconds, of });
    [
        limit("max-downtime", goal.max_downtime_seconds, |it: &Outcome| {
            it.downtime_ns.unwrap_or(0) as f64 / 1e9
        }),
        limit("max-time", goal.max_time_seconds, |it: &Outcome| it.total_ns as f64 / 1e9),
        limit("max-lost-work", goal.max_lost_work_seconds, |it: &Outcome| it.lost_work_seconds),
    ]
    .into_iter()
    .flatten()
}

/// Whether one flight kept every limit.
pub(crate) fn is_kept(flight: &Outcome, goal: &Goal) -> bool {
    flight.end == End::Completed && limits(goal).all(|it| (it.of)(flight) <= it.most_seconds)
}

fn check(goal: &Goal) -> Result<(), AdviseError> {
    let wrong = |limit, value: f64, reason| {
        Err(AdviseError::Goal { limit, value: value.to_string(), reason })
    };
    if !(goal.confidence > 0.0 && goal.confidence < 1.0) {
        let reason =
            "a share between 0 and 1, for example 0.9: nine of ten migrations keep the goal";
        return wrong("confidence", goal.confidence, reason);
    }
    let is_none = |it: &Limit| it.most_seconds.is_nan() || it.most_seconds <= 0.0;
    if let Some(limit) = limits(goal).find(is_none) {
        let reason = "no migration takes no time at all; give a time, as in 300ms, or leave it out";
        return wrong(limit.name, limit.most_seconds, reason);
    }
    if let (Some(downtime), Some(time)) = (goal.max_downtime_seconds, goal.max_time_seconds)
        && downtime > time
    {
        let reason = "longer than --max-time, of which the downtime is a part; swap them or raise --max-time";
        return wrong("max-downtime", downtime, reason);
    }
    Ok(())
}

/// Everything that is allowed, with a first look at each; what may keep the goal is flown through all worlds.
fn candidates(evidence: &Evidence, goal: &Goal, draws: &[Draw]) -> Vec<Candidate> {
    let allowed = techniques().into_iter().enumerate().filter(|(_, it)| is_allowed(it.price, goal));
    let mut all = Vec::new();
    for (rank, technique) in allowed {
        for technique in with_limits(&technique, evidence, goal) {
            let Ok(scenario) = technique.applied(&evidence.scenario) else { continue };
            let scenario = within_time(scenario, goal);
            let few = &draws[..draws.len().min(FIRST_LOOK)];
            let Some(flights) = flown(evidence, &scenario, few) else { continue };
            let mut it = Candidate { technique, scenario, rank, flights };
            if it.keeps(goal) + MARGIN >= goal.confidence
                && let Some(flights) = flown(evidence, &it.scenario, draws)
            {
                it.flights = flights;
            }
            all.push(it);
        }
    }
    all
}

fn is_allowed(price: Price, goal: &Goal) -> bool {
    match price {
        Price::None | Price::HostCpu => true,
        Price::Throttle => goal.allows_throttle,
        Price::Postcopy => goal.allows_postcopy,
        Price::Pause => goal.allows_pause,
    }
}

/// The technique with the downtime limits worth a try: the goal less what every downtime takes, and half of that.
fn with_limits(technique: &Technique, evidence: &Evidence, goal: &Goal) -> Vec<Technique> {
    let Some(most) = goal.max_downtime_seconds else { return vec![technique.clone()] };
    let limits = reasons::downtime_limits_ms(most, evidence);
    limits
        .into_iter()
        .map(|ms| technique.clone().with("migration.downtime-limit", format!("{ms}ms")))
        .collect()
}

/// A flight ends with the goal's time: what takes longer has missed it.
fn within_time(mut scenario: Scenario, goal: &Goal) -> Scenario {
    if let Some(seconds) = goal.max_time_seconds {
        scenario.limits.max_time = Some(Span(std::time::Duration::from_secs_f64(seconds)));
        scenario.limits.then = LimitAction::Cancel;
    }
    scenario
}

fn choice(it: &Candidate, all: &[Candidate], evidence: &Evidence, goal: &Goal) -> Choice {
    Choice {
        outcome: outcome(&it.technique, &it.flights),
        keeps_probability: it.keeps(goal),
        binding: reasons::binding(it, goal),
        because: reasons::because(it, all, evidence, goal),
        risks: reasons::risks(it),
    }
}
