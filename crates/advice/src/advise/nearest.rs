//! Where nothing keeps the goal: what comes nearest.

use sterna_model::{End, Outcome};
use sterna_report::foresight::{Choice, Goal, Nearest, Shortfall};

use super::{Candidate, Limit, limits};

/// The candidate that keeps the goal most often; among equals the one that completes most often, then the simplest.
pub fn nearest<'a>(all: &'a [Candidate], goal: &Goal) -> Option<&'a Candidate> {
    let completes =
        |it: &Candidate| it.flights.iter().filter(|it| it.end == End::Completed).count();
    all.iter().max_by(|a, b| {
        let by_goal = a.keeps(goal).total_cmp(&b.keeps(goal));
        let share = |it: &Candidate| completes(it) as f64 / it.flights.len().max(1) as f64;
        by_goal.then(share(a).total_cmp(&share(b))).then(b.rank.cmp(&a.rank))
    })
}

/// With the limits that it misses.
pub fn document(it: &Candidate, choice: Choice, goal: &Goal) -> Nearest {
    let mut shortfalls = Vec::new();
    for Limit { name, most_seconds, of } in limits(goal) {
        let kept_seconds = kept_seconds(it, goal.confidence, of);
        if kept_seconds.is_none_or(|kept| kept > most_seconds) {
            let limit = name.to_owned();
            shortfalls.push(Shortfall { limit, asked_seconds: Some(most_seconds), kept_seconds });
        }
    }
    if kept_seconds(it, goal.confidence, |_| 0.0).is_none() {
        let limit = "completion".to_owned();
        shortfalls = vec![Shortfall { limit, asked_seconds: None, kept_seconds: None }];
    }
    Nearest { choice, shortfalls }
}

/// What is kept with this confidence; `None` where too many migrations do not complete.
fn kept_seconds(it: &Candidate, confidence: f64, value: fn(&Outcome) -> f64) -> Option<f64> {
    let one = |it: &Outcome| if it.end == End::Completed { value(it) } else { f64::INFINITY };
    let mut values: Vec<f64> = it.flights.iter().map(one).collect();
    values.sort_unstable_by(f64::total_cmp);
    // Between a number and infinity lies no number, so the next rank counts.
    let rank = (confidence * values.len() as f64).ceil() as usize;
    let value = values.get(rank.saturating_sub(1))?;
    value.is_finite().then_some(*value)
}
