//! What would change the answer: more bandwidth, or a longer downtime.

use sterna_report::foresight::Goal;
use sterna_scenario::{Builder, Origin};
use sterna_units::{human_bits_per_second, human_seconds};

use super::{Candidate, candidates, is_kept, reasons};
use crate::draws::Draw;
use crate::evidence::Evidence;
use crate::menu::techniques;
use crate::predict::flown;

/// Worlds for each step of the search.
const WORLDS: usize = 60;

/// No more than this many times the link is looked at.
const MOST_BANDWIDTH: f64 = 64.0;

/// Steps of the search; each halves the factor that is left, 64 times to 1.1.
const STEPS: u32 = 6;

/// In sentences; empty where plain pre-copy is the answer already, or nothing was found.
pub fn would_change(
    evidence: &Evidence,
    goal: &Goal,
    draws: &[Draw],
    best: Option<&Candidate>,
) -> Vec<String> {
    if best.is_some_and(|it| it.rank == 0) {
        return Vec::new();
    }
    let few = &draws[..draws.len().min(WORLDS)];
    let mut sentences = Vec::new();
    if let Some(rate) = least_bandwidth(evidence, goal, few) {
        sentences.push(format!("with {} plain pre-copy would do", human_bits_per_second(rate)));
    }
    if let Some(seconds) = least_downtime(evidence, goal, few) {
        sentences.push(format!(
            "with a downtime of up to {} plain pre-copy would do",
            human_seconds(seconds)
        ));
    }
    if best.is_none() {
        sentences.extend(forbidden(evidence, goal, few));
    }
    sentences
}

/// The bandwidth from which on plain pre-copy keeps the goal, limit and link alike.
fn least_bandwidth(evidence: &Evidence, goal: &Goal, draws: &[Draw]) -> Option<f64> {
    let limit = evidence.scenario.migration.max_bandwidth.map(|it| it.bytes_per_second_f64());
    let link = evidence.link_bytes_per_second;
    let base = match (limit, link) {
        (Some(limit), Some(link)) => limit.min(link),
        (one, other) => one.or(other).unwrap_or(evidence.host.send_bytes_per_second),
    };
    let keeps = |factor: f64| {
        let rate = base * factor;
        let mut wider = evidence.clone();
        // A faster link is there to be used; more than one connection sends needs several.
        wider.host.send_bytes_per_second = wider.host.send_bytes_per_second.max(rate);
        wider.scenario.migration.max_bandwidth = None;
        let draws: Vec<Draw> = draws.iter().map(|it| with_rate(it, rate, link)).collect();
        plain_keeps(&wider, goal, &draws)
    };
    least(keeps).map(|factor| base * factor)
}

fn with_rate(draw: &Draw, rate: f64, link: Option<f64>) -> Draw {
    let mut draw = draw.clone();
    // The scatter of the draw stays.
    let scatter = match (draw.link.bytes_per_second, link) {
        (Some(drawn), Some(link)) => drawn as f64 / link,
        _ => 1.0,
    };
    draw.link.bytes_per_second = Some((rate * scatter) as u64);
    draw
}

/// The downtime from which on plain pre-copy keeps the rest of the goal.
fn least_downtime(evidence: &Evidence, goal: &Goal, draws: &[Draw]) -> Option<f64> {
    let base = goal.max_downtime_seconds?;
    let keeps = |factor: f64| {
        let seconds = base * factor;
        let wider = Goal { max_downtime_seconds: Some(seconds), ..*goal };
        let limit = reasons::downtime_limits_ms(seconds, evidence)[0];
        let origin = Origin::Flag("--max-downtime".to_owned());
        let builder = Builder::over(evidence.scenario.clone());
        let set = builder.set("migration.downtime-limit", &format!("{limit}ms"), origin);
        let Ok(scenario) = set.and_then(Builder::build) else { return false };
        let evidence = Evidence { scenario, ..evidence.clone() };
        plain_keeps(&evidence, &wider, draws)
    };
    least(keeps).map(|factor| base * factor)
}

/// The least factor from 1 to 64 that is enough, to a tenth; `None` where none is.
fn least(is_enough: impl Fn(f64) -> bool) -> Option<f64> {
    let (mut low, mut high) = (0.0, MOST_BANDWIDTH.ln());
    if !is_enough(MOST_BANDWIDTH) {
        return None;
    }
    for _ in 0..STEPS {
        let middle = f64::midpoint(low, high);
        if is_enough(middle.exp()) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high.exp())
}

fn plain_keeps(evidence: &Evidence, goal: &Goal, draws: &[Draw]) -> bool {
    let plain = techniques().into_iter().next();
    let limit = goal.max_downtime_seconds.map(|it| reasons::downtime_limits_ms(it, evidence)[0]);
    let scenario = plain.and_then(|it| {
        let it = match limit {
            Some(ms) => it.with("migration.downtime-limit", format!("{ms}ms")),
            None => it,
        };
        it.applied(&evidence.scenario).ok()
    });
    let Some(scenario) = scenario else { return false };
    let Some(flights) = flown(evidence, &super::within_time(scenario, goal), draws) else {
        return false;
    };
    let kept = flights.iter().filter(|it| is_kept(it, goal)).count();
    kept as f64 >= goal.confidence * flights.len() as f64
}

/// What was not allowed and would keep the goal.
fn forbidden(evidence: &Evidence, goal: &Goal, draws: &[Draw]) -> Option<String> {
    let all = Goal { allows_postcopy: true, allows_throttle: true, allows_pause: true, ..*goal };
    let tried = candidates(evidence, &all, draws);
    let keeping = tried.iter().filter(|it| it.keeps(goal) >= goal.confidence);
    let name = keeping.min_by_key(|it| it.rank)?.technique.name;
    Some(format!("{name} would keep it, and was not allowed"))
}
