//! Why these settings, and what they risk, in sentences.

use sterna_model::{End, Outcome};
use sterna_report::foresight::Goal;
use sterna_units::human_seconds;

use super::{Candidate, limits};
use crate::evidence::Evidence;
use crate::menu::Price;
use crate::quantile;

/// The downtime limits worth a try, in milliseconds, largest first: all that the goal leaves beside what every
/// downtime of this guest takes, and half of it.
pub fn downtime_limits_ms(most_seconds: f64, evidence: &Evidence) -> Vec<u64> {
    let fixed = evidence.host.fixed_downtime_ns as f64 / 1e9;
    let all = ((most_seconds - fixed).max(0.1 * most_seconds) * 1e3).floor().max(1.0) as u64;
    let mut limits = vec![all, (all / 2).max(1)];
    limits.dedup();
    limits
}

/// The limit that most worlds break, or that comes nearest to being broken.
pub fn binding(it: &Candidate, goal: &Goal) -> Option<String> {
    let used = limits(goal).filter_map(|limit| {
        let at = upper(it, goal.confidence, limit.of)?;
        Some((at / limit.most_seconds, limit.name, limit.most_seconds, at))
    });
    let (share, name, limit, at) = used.max_by(|a, b| a.0.total_cmp(&b.0))?;
    Some(format!(
        "--{name} {} is the tightest: {} of it is used in {:.0} % of the migrations ({})",
        human_seconds(limit),
        format_args!("{:.0} %", share * 100.0),
        goal.confidence * 100.0,
        human_seconds(at),
    ))
}

/// Why this and nothing simpler, and where the downtime limit comes from.
pub fn because(it: &Candidate, all: &[Candidate], evidence: &Evidence, goal: &Goal) -> Vec<String> {
    let mut reasons = Vec::new();
    let limit = it.technique.settings.iter().find(|(path, _)| *path == "migration.downtime-limit");
    if let (Some((_, limit)), Some(most)) = (limit, goal.max_downtime_seconds) {
        reasons.push(format!(
            "downtime limit {limit}: within your {}, of which this guest needs about {} for devices and the last synchronisation",
            human_seconds(most),
            human_seconds(evidence.host.fixed_downtime_ns as f64 / 1e9),
        ));
    }
    let mut simpler: Vec<(&str, f64, f64)> = Vec::new();
    for other in all.iter().filter(|other| other.rank < it.rank) {
        let keeps = other.keeps(goal);
        let done = other.flights.iter().filter(|it| it.end == End::Completed).count();
        let done = done as f64 / other.flights.len().max(1) as f64;
        match simpler.iter_mut().find(|(name, _, _)| *name == other.technique.name) {
            Some(row) if row.1 >= keeps => {}
            Some(row) => *row = (other.technique.name, keeps, done),
            None => simpler.push((other.technique.name, keeps, done)),
        }
    }
    for (name, keeps, done) in simpler.into_iter().filter(|it| it.1 < goal.confidence) {
        reasons.push(format!(
            "{name} keeps the goal in {:.0} % of the migrations and completes in {:.0} %",
            keeps * 100.0,
            done * 100.0,
        ));
    }
    reasons
}

/// What its owner should know before using it.
pub fn risks(it: &Candidate) -> Vec<String> {
    let risk = match it.technique.price {
        Price::None => return Vec::new(),
        Price::HostCpu => "it takes processor time on both hosts".to_owned(),
        Price::Throttle => {
            let most = it.flights.iter().map(Outcome::peak_throttle_percent).fold(0.0, f64::max);
            format!("the guest is slowed down, by up to {most:.0} % of its processor time")
        }
        Price::Postcopy => {
            let longest = it.flights.iter().filter_map(|it| it.postcopy_ns).max();
            let longest = longest.map_or_else(String::new, |ns| {
                format!(", for up to {}", human_seconds(ns as f64 / 1e9))
            });
            format!(
                "from the switch until all memory has arrived{longest}, a lost link or a dead source host costs the guest"
            )
        }
        Price::Pause => "the guest stands still until the rest of its memory is through".to_owned(),
    };
    vec![risk]
}

/// What this share of the completed migrations stays below.
fn upper(it: &Candidate, share: f64, value: fn(&Outcome) -> f64) -> Option<f64> {
    let done = it.flights.iter().filter(|it| it.end == End::Completed);
    let mut values: Vec<f64> = done.map(value).collect();
    values.sort_unstable_by(f64::total_cmp);
    quantile::at(&values, share)
}
