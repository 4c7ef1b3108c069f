//! What will happen: each technique through many possible worlds.

use std::sync::Arc;

use sterna_converge::Policy;
use sterna_model::{End, Outcome, Plan, fly};
use sterna_report::Tool;
use sterna_report::foresight::{
    Interval, PREDICTION_SCHEMA_NAME, PREDICTION_SCHEMA_VERSION, Prediction, TechniqueOutcome,
};
use sterna_scenario::Scenario;

use crate::draws::{Draw, draw};
use crate::evidence::Evidence;
use crate::menu::{Technique, techniques};
use crate::quantile::interval;

/// How many worlds are drawn, and from which seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// Simulated migrations for each technique.
    pub draws: u32,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling { draws: 200, seed: 1 }
    }
}

/// How the guest's migration would go, with each technique.
pub fn predict(evidence: &Evidence, sampling: Sampling, tool: Tool) -> Prediction {
    let draws = draw(evidence, sampling.draws, sampling.seed);
    let rows = techniques().into_iter().filter_map(|technique| {
        let scenario = technique.applied(&evidence.scenario).ok()?;
        let flown = flown(evidence, &scenario, &draws)?;
        Some(outcome(&technique, &flown))
    });
    Prediction {
        schema: PREDICTION_SCHEMA_NAME.to_owned(),
        schema_version: PREDICTION_SCHEMA_VERSION.to_owned(),
        tool,
        evidence: evidence.document(),
        draws: sampling.draws,
        seed: sampling.seed,
        outcomes: rows.collect(),
    }
}

/// Each world flown with these settings; `None` where the model does not know a setting.
pub fn flown(evidence: &Evidence, scenario: &Scenario, draws: &[Draw]) -> Option<Vec<Outcome>> {
    let plan = Plan::of_scenario(scenario, evidence.host, evidence.rules).ok()?;
    let one = |draw: &Draw| {
        let mut plan = Plan { guest: draw.guest.clone(), link: draw.link, ..plan.clone() };
        let limit_ns = plan.settings.downtime_limit_ns as f64 * draw.limit_factor;
        plan.settings.downtime_limit_ns = limit_ns as u64;
        with_error(fly(&Arc::new(plan), Policy::new(scenario)), draw)
    };
    // Two halves at once: a prediction is asked for by someone who waits.
    let (left, right) = draws.split_at(draws.len() / 2);
    let mut all = std::thread::scope(|scope| {
        let other = scope.spawn(|| right.iter().map(one).collect::<Vec<_>>());
        let mut all: Vec<Outcome> = left.iter().map(one).collect();
        all.extend(other.join().unwrap_or_default());
        all
    });
    all.shrink_to_fit();
    (all.len() == draws.len()).then_some(all)
}

/// The flight as it may come out, since the model is not exact.
fn with_error(flight: Outcome, draw: &Draw) -> Outcome {
    let times = |ns: u64, factor: f64| (ns as f64 * factor) as u64;
    Outcome {
        total_ns: times(flight.total_ns, draw.total_factor),
        downtime_ns: flight.downtime_ns.map(|it| times(it, draw.downtime_factor)),
        ..flight
    }
}

/// The flights of one technique, as intervals.
pub fn outcome(technique: &Technique, flights: &[Outcome]) -> TechniqueOutcome {
    let share = |count: usize| count as f64 / flights.len().max(1) as f64;
    let done: Vec<&Outcome> = flights.iter().filter(|it| it.end == End::Completed).collect();
    let of_done =
        |value: fn(&Outcome) -> Option<f64>| interval(done.iter().filter_map(|it| value(it)));
    let throttles = interval(flights.iter().map(Outcome::peak_throttle_percent));
    let nothing = Interval { p5: 0.0, p50: 0.0, p95: 0.0 };
    TechniqueOutcome {
        technique: technique.name.to_owned(),
        settings: technique
            .settings
            .iter()
            .map(|(path, value)| ((*path).to_owned(), value.clone()))
            .collect(),
        completes_probability: share(done.len()),
        forced_probability: share(done.iter().filter(|it| it.is_forced).count()),
        total_time_seconds: of_done(|it| Some(it.total_ns as f64 / 1e9)),
        downtime_seconds: of_done(|it| it.downtime_ns.map(|ns| ns as f64 / 1e9)),
        wire_bytes: interval(flights.iter().map(|it| it.wire_bytes as f64)).unwrap_or(nothing),
        lost_work_seconds: of_done(|it| Some(it.lost_work_seconds)),
        throttle_percent: throttles.map_or(0.0, |it| it.p50),
    }
}
