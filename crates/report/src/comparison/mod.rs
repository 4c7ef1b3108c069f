//! Whether one set of runs is worse than another.
//!
//! [`compare`] matches runs by their scenario and judges each metric with statistics; `judge` has
//! the rules. Integrity and outcome need no statistics where one case is enough: corrupt memory,
//! or a lost guest, is a regression when it happens once.

mod evidence;
mod judge;
mod matching;
mod metric;
mod outcome;
mod repeats;
#[cfg(test)]
mod simulations;
mod types;

use crate::{Integrity, Report, Tool, Verdict};

pub use judge::{Change, Rules};
pub use metric::{Metric, NOISE_SHARE, Span, Unit};
pub use repeats::{
    MetricRepeats, REPEATS_SCHEMA_NAME, REPEATS_SCHEMA_VERSION, Repeats, VerdictCount,
};
pub use types::{
    COMPARISON_SCHEMA_NAME, COMPARISON_SCHEMA_VERSION, Comparison, ComparisonSide,
    MetricComparison, Ruling, Sample, ScenarioComparison, SettingDifference,
};

use evidence::Pair;
use judge::judge;
use matching::{Group, groups, matches};

/// Runs that belong together: those of a version, of a day, of a setting.
#[derive(Clone, Debug)]
pub struct Side {
    /// What they are called.
    pub label: String,
    /// Their reports, in any order, of one or many scenarios.
    pub reports: Vec<Report>,
}

/// Compares each side with the first.
///
/// Runs that were interrupted or that the engine could not make are left out, which a note says;
/// so is a scenario that only one of the two sides has.
pub fn compare(sides: &[Side], rules: &Rules, tool: Tool) -> Comparison {
    let mut comparison = Comparison::new(sides, rules, tool);
    let Some((reference, candidates)) = sides.split_first() else { return comparison };
    let of_reference = groups(reference, &mut comparison.notes);
    for candidate in candidates {
        let of_candidate = groups(candidate, &mut comparison.notes);
        let (pairs, unmatched) = matches(&of_reference, &of_candidate);
        for (a, b) in pairs {
            let outcome = outcome::in_common(a, b);
            comparison.notes.extend(outcome::note(a, b, outcome));
            let labels = [&reference.label[..], &candidate.label[..]];
            comparison.scenarios.push(scenario(labels, a, b, outcome, rules));
        }
        for (is_reference, name) in unmatched {
            let (has, lacks) = match is_reference {
                true => (&reference.label, &candidate.label),
                false => (&candidate.label, &reference.label),
            };
            comparison
                .notes
                .push(format!("{name} is in {has} only; {lacks} has nothing to match it"));
        }
    }
    comparison
}

/// The reports behind each scenario of [`compare`], in its order: the reference's and the candidate's.
pub fn reports_behind(sides: &[Side]) -> Vec<[Vec<&Report>; 2]> {
    let Some((reference, candidates)) = sides.split_first() else { return Vec::new() };
    // What is left out was told by the comparison.
    let mut notes = Vec::new();
    let of_reference = groups(reference, &mut notes);
    let mut behind = Vec::new();
    for candidate in candidates {
        let of_candidate = groups(candidate, &mut notes);
        let (pairs, _) = matches(&of_reference, &of_candidate);
        behind.extend(pairs.iter().map(|(a, b)| [a.reports.clone(), b.reports.clone()]));
    }
    behind
}

fn scenario(
    [reference, candidate]: [&str; 2],
    a: &Group,
    b: &Group,
    compared: Option<Verdict>,
    rules: &Rules,
) -> ScenarioComparison {
    let values: Vec<(&Metric, Vec<Span>, Vec<Span>)> = Metric::ALL
        .iter()
        .map(|metric| (metric, a.values(metric, compared), b.values(metric, compared)))
        .filter(|(_, a, b)| !a.is_empty() || !b.is_empty())
        .collect();
    let pairs: Vec<Pair> =
        values.iter().map(|(metric, a, b)| Pair::new(metric, a, b, compared.is_some())).collect();
    let outcomes = [outcome::ranks(a), outcome::ranks(b)];
    let (findings, of_outcomes) = judge(&pairs, &outcomes, rules);
    let metrics = pairs.iter().zip(findings).map(|(pair, found)| {
        let reference = Sample::of(pair.reference, rules.seed);
        let candidate = Sample::of(pair.candidate, rules.seed);
        let middle = reference.median.filter(|it| *it != 0.0);
        MetricComparison {
            metric: pair.metric.name.to_owned(),
            unit: pair.metric.unit.as_str().to_owned(),
            more_is_better: pair.metric.more_is_better,
            relative_difference: found.difference.zip(middle).map(|(d, m)| d / m.abs()),
            reference,
            candidate,
            difference: found.difference,
            difference_low: found.low,
            difference_high: found.high,
            p_value: found.ranks.map(|it| it.p_value),
            adjusted_p_value: found.ranks.map(|it| it.adjusted),
            worse_than_all: found.worse_than_all.map(|it| it as u64),
            worse_p_value: found.worst.map(|it| it.p_value),
            adjusted_worse_p_value: found.worst.map(|it| it.adjusted),
            probability_worse: found.probability_worse,
            threshold: rules.threshold(pair.metric.name),
            change: found.change,
            repeats_needed: found.needed.map(|it| it as u64),
        }
    });
    ScenarioComparison {
        scenario: a.title(),
        engine: match a.engine == b.engine {
            true => a.engine.clone(),
            false => format!("{} → {}", a.engine, b.engine),
        },
        reference: reference.to_owned(),
        candidate: candidate.to_owned(),
        reference_runs: a.reports.len() as u64,
        candidate_runs: b.reports.len() as u64,
        differences: matching::differences(a, b),
        integrity: integrity(a, b),
        outcome: outcome::outcome(a, b, of_outcomes, rules),
        compared_outcome: compared,
        metrics: metrics.collect(),
    }
}

/// The worst of each side decides. What never checks memory cannot become worse at it.
fn integrity(a: &Group, b: &Group) -> Ruling {
    fn rank(integrity: Integrity) -> u8 {
        match integrity {
            Integrity::Verified => 0,
            Integrity::Unchecked => 1,
            Integrity::Corrupt => 2,
        }
    }
    let worst = |group: &Group| {
        group.reports.iter().map(|it| it.summary.integrity).max_by_key(|it| rank(*it))
    };
    let checks = |group: &Group| group.reports.iter().any(|it| it.tool.name == "sterna");
    let (from, to) = (worst(a).unwrap_or_default(), worst(b).unwrap_or_default());
    let change = match rank(to).cmp(&rank(from)) {
        _ if to == Integrity::Corrupt && from != Integrity::Corrupt => Change::Regressed,
        std::cmp::Ordering::Greater if checks(b) && checks(a) => Change::Regressed,
        std::cmp::Ordering::Greater => Change::NotMeasured,
        std::cmp::Ordering::Less => Change::Improved,
        std::cmp::Ordering::Equal => Change::NoChange,
    };
    let text = match from == to {
        true => format!("{to} in both"),
        false => format!("{from} in the reference, {to} in the candidate"),
    };
    Ruling { change, text }
}
