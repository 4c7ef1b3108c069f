//! What may be said of two sets of measurements.
//!
//! A difference counts when it is neither chance nor too small to matter. Two tests rule out chance:
//! one of rank sums, and one of the runs that are worse than every run of the reference. There are
//! three effects beyond the noise threshold: the medians differ by more; the 90th percentiles do; or
//! of all pairs of runs the candidate's is worse by more in at least 60 % (pairs within it count half).
//!
//! | the tests, adjusted for all tests of the scenario | the effect | then |
//! |---|---|---|
//! | one of them says worse | any of the three | regressed |
//! | the first says better | the median is better by more | improved |
//! | could not have found anything, with so few repeats | whatever it is | too few repeats to say |
//! | | no effect, and the 95 % interval of the difference lies within the threshold | no change |
//! | | anything else | too noisy to say |
//!
//! "No change" is a claim as well, and three runs on each side cannot make it. A lower bound counts as
//! the least that it says where a run is worse, and "improved" and "no change" must also be true of the
//! most that the candidate's values can be.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::evidence::{Evidence, Pair, Tested, weigh};
use crate::statistics::{difference_interval, median, percentile, permutation_test};

/// What may be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Better, beyond chance and threshold.
    Improved,
    /// Worse, beyond chance and threshold.
    Regressed,
    /// The difference is shown to lie within the threshold.
    NoChange,
    /// There may be a difference, and the scatter is too large to tell.
    TooNoisy,
    /// No difference could be distinguished from chance with so few repeats.
    TooFew,
    /// A side has no value.
    NotMeasured,
}

impl Change {
    /// The words for people.
    pub fn words(self) -> &'static str {
        match self {
            Change::Improved => "improved",
            Change::Regressed => "regressed",
            Change::NoChange => "no change",
            Change::TooNoisy => "too noisy to say",
            Change::TooFew => "too few repeats to say",
            Change::NotMeasured => "not measured",
        }
    }
}

/// The rules of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// The error that is allowed for all metrics of a scenario together.
    pub alpha: f64,
    /// Noise thresholds as shares of the reference's median, by the metric's name; the others have
    /// [`super::NOISE_SHARE`].
    pub thresholds: Vec<(String, f64)>,
    /// From which resamples are drawn.
    pub seed: u64,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { alpha: 0.01, thresholds: Vec::new(), seed: 1 }
    }
}

impl Rules {
    /// The noise threshold of a metric, as a share of the reference's median.
    pub fn threshold(&self, metric: &str) -> f64 {
        let own = self.thresholds.iter().rev().find(|(name, _)| name == metric);
        own.map_or(super::NOISE_SHARE, |(_, share)| *share)
    }
}

/// What was found about one metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Finding {
    pub change: Change,
    /// Median of the candidate - median of the reference.
    pub difference: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub ranks: Option<Tested>,
    pub worst: Option<Tested>,
    pub worse_than_all: Option<usize>,
    pub probability_worse: Option<f64>,
    /// The repeats on each side with which more could be said; where they are too few.
    pub needed: Option<usize>,
}

/// Judges all metrics of a scenario together; the second is the adjusted p-value of the outcomes.
pub(super) fn judge(
    pairs: &[Pair],
    outcomes: &[Vec<f64>; 2],
    rules: &Rules,
) -> (Vec<Finding>, Option<f64>) {
    let (evidence, of_outcomes) = weigh(pairs, outcomes, rules);
    let one = |(pair, evidence): (&Pair, Option<Evidence>)| match evidence {
        None => NOT_MEASURED,
        Some(evidence) => finding(pair, &evidence, rules),
    };
    (pairs.iter().zip(evidence).map(one).collect(), of_outcomes)
}

/// What the tests claim, without the intervals, which take long and claim nothing.
#[cfg(test)]
pub(super) fn claims(
    pairs: &[Pair],
    outcomes: &[Vec<f64>; 2],
    rules: &Rules,
) -> Vec<Option<Change>> {
    let (evidence, _) = weigh(pairs, outcomes, rules);
    let one = |(pair, evidence): (&Pair, Option<Evidence>)| {
        claim(pair, &evidence?, &Effect::of(pair, rules), rules)
    };
    pairs.iter().zip(evidence).map(one).collect()
}

const NOT_MEASURED: Finding = Finding {
    change: Change::NotMeasured,
    difference: None,
    low: None,
    high: None,
    ranks: None,
    worst: None,
    worse_than_all: None,
    probability_worse: None,
    needed: None,
};

fn finding(pair: &Pair, evidence: &Evidence, rules: &Rules) -> Finding {
    let effect = Effect::of(pair, rules);
    let sign = if pair.metric.more_is_better { -1.0 } else { 1.0 };
    let [reference, candidate] = &pair.least;
    let interval = difference_interval(reference, candidate, rules.seed);
    let is_worse = effect.median > 0.0;
    let is_within = || {
        interval.is_some_and(|it| it.low >= -effect.threshold && it.high <= effect.threshold)
            && !effect.is_worse()
            && (!pair.is_open() || is_within_at_most(pair, &effect, rules))
    };
    let change = match claim(pair, evidence, &effect, rules) {
        Some(change) => change,
        None if !evidence.could_tell(is_worse, rules) => Change::TooFew,
        None if is_within() => Change::NoChange,
        None => Change::TooNoisy,
    };
    // Numbers in `effect` and the interval are larger for what is worse.
    let ends = interval.map(|it| if sign > 0.0 { (it.low, it.high) } else { (-it.high, -it.low) });
    Finding {
        change,
        difference: Some(sign * effect.median),
        low: ends.map(|it| it.0),
        high: ends.map(|it| it.1),
        ranks: Some(evidence.ranks),
        worst: Some(evidence.worst),
        worse_than_all: Some(evidence.worse_than_all),
        probability_worse: Some(effect.probability),
        needed: (change == Change::TooFew).then(|| evidence.needed(is_worse, rules)),
    }
}

/// A change that the tests show and that is large enough to matter.
fn claim(pair: &Pair, evidence: &Evidence, effect: &Effect, rules: &Rules) -> Option<Change> {
    let is_moved = evidence.ranks.adjusted <= rules.alpha;
    let is_worse = evidence.worst.adjusted <= rules.alpha || (is_moved && effect.is_later);
    match () {
        () if is_worse && effect.is_worse() => Some(Change::Regressed),
        () if is_moved && effect.median > effect.threshold => Some(Change::Regressed),
        () if is_moved && effect.median < -effect.threshold => {
            let holds = !pair.is_open() || is_better_at_most(pair, evidence, effect, rules);
            holds.then_some(Change::Improved)
        }
        () => None,
    }
}

/// How large the difference is. Its numbers are larger for what is worse.
struct Effect {
    threshold: f64,
    median: f64,
    /// The same of the 90th percentiles.
    high: f64,
    /// The share of pairs in which the candidate is worse beyond the threshold.
    probability: f64,
    /// Whether the candidate's ranks are the higher ones.
    is_later: bool,
}

impl Effect {
    /// From this share of pairs on it is an effect.
    const LEAST_PROBABILITY: f64 = 0.6;

    fn of(pair: &Pair, rules: &Rules) -> Effect {
        let [reference, candidate] = &pair.least;
        let threshold = pair.threshold(rules);
        let at = |values: &[f64], percent| percentile(values, percent).unwrap_or(f64::NAN);
        let difference = |percent| at(candidate, percent) - at(reference, percent);
        Effect {
            threshold,
            median: difference(50.0),
            high: difference(90.0),
            probability: share_worse(reference, candidate, threshold),
            is_later: share_worse(reference, candidate, 0.0) > 0.5,
        }
    }

    fn is_worse(&self) -> bool {
        self.median > self.threshold
            || self.high > self.threshold
            || self.probability >= Effect::LEAST_PROBABILITY
    }
}

/// The share of pairs in which the candidate lies higher by more than the threshold; those nearer to
/// each other count half.
fn share_worse(reference: &[f64], candidate: &[f64], threshold: f64) -> f64 {
    let pair = |difference: f64| match difference {
        it if it > threshold => 1.0,
        it if it < -threshold => 0.0,
        _ => 0.5,
    };
    let of_one = |b: &f64| reference.iter().map(|a| pair(b - a)).sum::<f64>();
    let all = (reference.len() * candidate.len()) as f64;
    candidate.iter().map(of_one).sum::<f64>() / all
}

/// Whether the candidate is better even if its values are the most that they can be.
fn is_better_at_most(pair: &Pair, evidence: &Evidence, effect: &Effect, rules: &Rules) -> bool {
    let (reference, candidate) = (&pair.least[0], &pair.most[1]);
    let middle = |values: &[f64]| median(values).unwrap_or(f64::NAN);
    let difference = middle(candidate) - middle(reference);
    let factor = evidence.ranks.adjusted / evidence.ranks.p_value;
    let p_value = permutation_test(reference, candidate, rules.seed).unwrap_or(1.0);
    difference < -effect.threshold && p_value * factor <= rules.alpha
}

/// Whether the difference lies within the threshold whatever the values are within their ends.
fn is_within_at_most(pair: &Pair, effect: &Effect, rules: &Rules) -> bool {
    let worst = difference_interval(&pair.least[0], &pair.most[1], rules.seed);
    let best = difference_interval(&pair.most[0], &pair.least[1], rules.seed);
    worst.is_some_and(|it| it.high <= effect.threshold)
        && best.is_some_and(|it| it.low >= -effect.threshold)
}

#[cfg(test)]
mod tests {
    use super::super::{Metric, Span};
    use super::*;

    fn one(reference: &[f64], candidate: &[f64]) -> Finding {
        of_metric("total-time", reference, candidate, &Rules::default())
    }

    fn of_metric(name: &str, reference: &[f64], candidate: &[f64], rules: &Rules) -> Finding {
        let exact = |values: &[f64]| values.iter().copied().map(Span::exact).collect::<Vec<_>>();
        of_spans(name, &exact(reference), &exact(candidate), rules)
    }

    fn of_spans(name: &str, reference: &[Span], candidate: &[Span], rules: &Rules) -> Finding {
        let metric = Metric::named(name).unwrap();
        let pair = Pair::new(metric, reference, candidate, true);
        let completed = [reference, candidate].map(|it| vec![0.0; it.len().max(1)]);
        judge(&[pair], &completed, rules).0[0]
    }

    fn around(middle: f64, spread: f64, count: u32) -> Vec<f64> {
        let step = |it: u32| (f64::from(it * 7 % count) / f64::from(count) - 0.5) * 2.0;
        (0..count).map(|it| middle * (1.0 + spread * step(it))).collect()
    }

    #[test]
    fn every_row_of_the_table_is_reached() {
        let table = [
            (around(1.0, 0.02, 10), around(1.2, 0.02, 10), Change::Regressed),
            (around(1.0, 0.02, 10), around(0.8, 0.02, 10), Change::Improved),
            (around(1.0, 0.005, 10), around(1.03, 0.005, 10), Change::NoChange),
            (around(1.0, 0.02, 10), around(1.0, 0.02, 10), Change::NoChange),
            (around(1.0, 0.5, 10), around(1.1, 0.5, 10), Change::TooNoisy),
            (around(1.0, 0.001, 3), around(9.0, 0.001, 3), Change::TooFew),
            (around(1.0, 0.001, 3), around(1.0, 0.001, 3), Change::TooFew),
            (vec![1.0], vec![1.0], Change::TooFew),
            (vec![], vec![1.0], Change::NotMeasured),
        ];
        for (reference, candidate, expected) in table {
            let found = one(&reference, &candidate);
            assert_eq!(found.change, expected, "{reference:?} {candidate:?} {found:?}");
        }
    }

    #[test]
    fn more_is_better_where_it_is() {
        let (reference, candidate) = (around(1e8, 0.01, 10), around(8e7, 0.01, 10));
        let found = of_metric("guest-throughput", &reference, &candidate, &Rules::default());
        assert_eq!(found.change, Change::Regressed);
        assert!(found.difference.unwrap() < -1.9e7 && found.high.unwrap() < 0.0, "{found:?}");
        let back = of_metric("guest-throughput", &candidate, &reference, &Rules::default());
        assert_eq!(back.change, Change::Improved);
    }

    #[test]
    fn a_threshold_of_ones_own_wins() {
        let (reference, candidate) = (around(1.0, 0.01, 10), around(1.08, 0.01, 10));
        let wide = Rules { thresholds: vec![("total-time".into(), 0.1)], ..Rules::default() };
        assert_eq!(one(&reference, &candidate).change, Change::Regressed);
        assert_eq!(of_metric("total-time", &reference, &candidate, &wide).change, Change::NoChange);
    }

    #[test]
    fn too_few_says_how_many_would_do() {
        let found = one(&[1.0, 1.1, 0.9], &[2.0, 2.1, 1.9]);
        assert_eq!((found.change, found.needed), (Change::TooFew, Some(5)));
        // For a difference for the better the test of the worst runs is no help.
        let found = one(&[2.0, 2.1, 1.9], &[1.0, 1.1, 0.9]);
        assert_eq!((found.change, found.needed), (Change::TooFew, Some(7)));
    }

    #[test]
    fn what_lies_below_the_least_difference_that_matters_is_no_change() {
        let (reference, candidate) = (around(1e-4, 0.01, 10), around(2e-4, 0.01, 10));
        let found = of_metric("downtime", &reference, &candidate, &Rules::default());
        assert_eq!(found.change, Change::NoChange);
    }

    #[test]
    fn a_part_of_the_runs_ten_times_slower_is_regressed_though_the_median_is_not() {
        let reference = around(1.0, 0.02, 20);
        let slow = |count: usize| -> Vec<f64> {
            let factor = |index| if index < count { 10.0 } else { 1.0 };
            reference.iter().enumerate().map(|(index, it)| it * factor(index)).collect()
        };
        let found = one(&reference, &slow(8));
        assert_eq!((found.change, found.worse_than_all), (Change::Regressed, Some(8)));
        assert!(found.difference.unwrap() < 0.05 && found.probability_worse.unwrap() > 0.69);
        // Fewer may be chance, and are no proof that nothing changed either.
        assert_eq!(one(&reference, &slow(3)).change, Change::TooNoisy);
        assert_eq!(one(&slow(8), &reference).change, Change::TooNoisy);
    }

    #[test]
    fn a_median_within_the_threshold_is_no_change_only_if_its_interval_is() {
        // The middle moved by 2 %, and may have moved by more.
        let found = one(&around(1.0, 0.06, 20), &around(1.02, 0.06, 20));
        assert!(found.high.unwrap() > 0.05, "{found:?}");
        assert_eq!(found.change, Change::TooNoisy);
    }

    #[test]
    fn lower_bounds_count_as_the_least_that_they_say() {
        let exact = |middle: f64| around(middle, 0.02, 10).into_iter().map(Span::exact);
        let bounds = |middle: f64| around(middle, 0.02, 10).into_iter().map(Span::at_least);
        let few: Vec<f64> = exact(0.3).map(|it| it.least).collect();
        let few: Vec<Span> = few.into_iter().map(Span::exact).collect();
        let table = [
            (few.clone(), bounds(10.0).collect(), Change::Regressed),
            (bounds(10.0).collect(), few.clone(), Change::Improved),
            // At least 0.3 may be 10 as well.
            (exact(10.0).collect(), bounds(0.3).collect(), Change::TooNoisy),
            (few, bounds(0.3).collect::<Vec<Span>>(), Change::TooNoisy),
        ];
        for (reference, candidate, expected) in table {
            let found = of_spans("lost-work", &reference, &candidate, &Rules::default());
            assert_eq!(found.change, expected, "{reference:?} {candidate:?} {found:?}");
        }
    }

    #[test]
    fn a_difference_that_the_observer_could_not_see_is_no_change_for_better_or_worse() {
        let none = vec![Span { least: 0.0, most: 0.5 }; 10];
        let some = vec![Span { least: 0.4, most: 0.9 }; 10];
        let long = vec![Span { least: 4.0, most: 4.5 }; 10];
        let table = [
            (&none, &none, Change::NoChange),
            (&some, &none, Change::TooNoisy),
            (&none, &long, Change::Regressed),
            (&long, &none, Change::Improved),
        ];
        for (reference, candidate, expected) in table {
            let found = of_spans("outage", reference, candidate, &Rules::default());
            assert_eq!(found.change, expected, "{found:?}");
        }
    }
}
