//! What the tests say of all metrics of a scenario together.
//!
//! Each metric is tested twice: by rank sums, which see that the middle moved, and by the runs that are
//! worse than all of the reference's, which see that a part of the runs became much worse. The allowed
//! error is shared between all these tests, and the test of the outcomes, after Holm. A test that could
//! not find anything because all its values are equal takes no part of it.

use super::{Rules, Span, metric::Metric};
use crate::statistics::{
    Exceedance, Weighted, exceedance, holm, least_exceedance, least_p_value, median,
    permutation_test,
};

/// In place of an end that is not known: as large as anything, and still a number.
const UNBOUNDED: f64 = f64::MAX / 4.0;

/// The part of the error for the runs that are worse than all of the reference's, in the metrics that
/// say most of a migration; every other test has 1. With 20 runs on each side, 8 that are worse than
/// all others come by chance in 0.16 % of the cases, and must be found whatever else is compared.
const WEIGHT_OF_WORST: f64 = 5.0;
const WEIGHTY: [&str; 4] = ["total-time", "downtime", "claimed-downtime", "blackout"];

/// The values of one metric on both sides. The numbers in it are larger for what is worse.
pub(super) struct Pair<'a> {
    pub metric: &'a Metric,
    pub reference: &'a [Span],
    pub candidate: &'a [Span],
    /// The least that each value says.
    pub least: [Vec<f64>; 2],
    /// The most that each can be.
    pub most: [Vec<f64>; 2],
    /// Whether the runs of both sides can be compared at all.
    is_comparable: bool,
}

impl<'a> Pair<'a> {
    pub fn new(
        metric: &'a Metric,
        reference: &'a [Span],
        candidate: &'a [Span],
        is_comparable: bool,
    ) -> Pair<'a> {
        let (sign, most_first) = if metric.more_is_better { (-1.0, true) } else { (1.0, false) };
        let end = |span: &Span, is_least: bool| {
            let end = if is_least != most_first { span.least } else { span.most };
            sign * end.clamp(-UNBOUNDED, UNBOUNDED)
        };
        let ends = |is_least: bool| {
            [reference, candidate].map(|it| it.iter().map(|span| end(span, is_least)).collect())
        };
        Pair { metric, reference, candidate, least: ends(true), most: ends(false), is_comparable }
    }

    /// Whether the ends of some value differ.
    pub fn is_open(&self) -> bool {
        self.least != self.most
    }

    fn is_constant(&self) -> bool {
        let mut all = self.least.iter().flatten();
        let first = all.next();
        all.all(|it| Some(it) == first)
    }

    /// What does not matter: the noise threshold of the metric, the least difference that counts, and
    /// what the observers of these runs could not see.
    pub fn threshold(&self, rules: &Rules) -> f64 {
        let [reference, _] = &self.least;
        let middle = median(reference).unwrap_or(0.0).abs();
        let unseen = |(least, most): (&f64, &f64)| most - least;
        let ends = self.least.iter().flatten().zip(self.most.iter().flatten());
        let unseen = ends.map(unseen).filter(|it| *it < UNBOUNDED / 2.0).fold(0.0, f64::max);
        (rules.threshold(self.metric.name) * middle).max(self.metric.least).max(unseen)
    }
}

/// A p-value, and what it is worth among all tests of the scenario.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tested {
    pub p_value: f64,
    pub adjusted: f64,
}

/// What both tests say of one metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Evidence {
    pub ranks: Tested,
    pub worst: Tested,
    pub worse_than_all: usize,
    /// The weights of the two tests among all.
    shares: [f64; 2],
    /// Runs on each side.
    counts: [usize; 2],
}

impl Evidence {
    /// Whether so many runs could show a difference, of which one test sees only that it is worse.
    pub fn could_tell(&self, is_worse: bool, rules: &Rules) -> bool {
        self.could_tell_with(self.counts, is_worse, rules)
    }

    /// The runs on each side with which they could.
    pub fn needed(&self, is_worse: bool, rules: &Rules) -> usize {
        (1..1_000).find(|n| self.could_tell_with([*n, *n], is_worse, rules)).unwrap_or(1_000)
    }

    fn could_tell_with(&self, [a, b]: [usize; 2], is_worse: bool, rules: &Rules) -> bool {
        let [ranks, worst] = self.shares;
        let is_enough =
            |least: Option<f64>, share: f64| least.is_some_and(|it| it <= rules.alpha * share);
        is_enough(least_p_value(a, b), ranks)
            || (is_worse && is_enough(least_exceedance(a, b), worst))
    }
}

/// Tests all metrics of a scenario, and its outcomes, of which it gives the adjusted p-value.
pub(super) fn weigh(
    pairs: &[Pair],
    outcomes: &[Vec<f64>; 2],
    rules: &Rules,
) -> (Vec<Option<Evidence>>, Option<f64>) {
    let raw: Vec<Option<(f64, Exceedance)>> = pairs.iter().map(|it| test(it, rules)).collect();
    let mut family = Vec::new();
    for (pair, raw) in pairs.iter().zip(&raw) {
        let Some((ranks, worst)) = raw.filter(|_| !pair.is_constant()) else { continue };
        family.push(Weighted { p_value: ranks, weight: 1.0 });
        family.push(Weighted { p_value: worst.p_value, weight: weight_of_worst(pair) });
    }
    let of_outcomes = permutation_test(&outcomes[0], &outcomes[1], rules.seed);
    let [first, ..] = &outcomes[0][..] else { return (pairs.iter().map(|_| None).collect(), None) };
    let do_outcomes_vary = outcomes.iter().flatten().any(|it| it != first);
    let of_outcomes = of_outcomes.filter(|_| do_outcomes_vary);
    family.extend(of_outcomes.map(|p_value| Weighted { p_value, weight: 1.0 }));
    let all: f64 = family.iter().map(|it| it.weight).sum();
    let mut adjusted = holm(&family).into_iter();
    let mut next = |p_value: f64| Tested { p_value, adjusted: adjusted.next().unwrap_or(1.0) };
    let mut found = Vec::new();
    for (pair, raw) in pairs.iter().zip(raw) {
        found.push(raw.map(|(ranks, worst)| {
            let (is_constant, weight) = (pair.is_constant(), weight_of_worst(pair));
            let all = if is_constant { all + 1.0 + weight } else { all };
            let none = |p_value| Tested { p_value, adjusted: 1.0 };
            let (of_ranks, of_worst) = match is_constant {
                true => (none(ranks), none(worst.p_value)),
                false => (next(ranks), next(worst.p_value)),
            };
            Evidence {
                ranks: of_ranks,
                worst: of_worst,
                worse_than_all: worst.count,
                shares: [1.0 / all, weight / all],
                counts: [pair.reference.len(), pair.candidate.len()],
            }
        }));
    }
    (found, of_outcomes.map(|it| next(it).adjusted))
}

fn weight_of_worst(pair: &Pair) -> f64 {
    if WEIGHTY.contains(&pair.metric.name) { WEIGHT_OF_WORST } else { 1.0 }
}

fn test(pair: &Pair, rules: &Rules) -> Option<(f64, Exceedance)> {
    let [reference, candidate] = &pair.least;
    if !pair.is_comparable {
        return None;
    }
    let ranks = permutation_test(reference, candidate, rules.seed)?;
    Some((ranks, exceedance(reference, candidate, pair.threshold(rules))?))
}
