//! What may be said of two sets of measurements.
//!
//! A difference counts when it is neither chance nor too small to matter:
//!
//! | the test, adjusted for the number of metrics | the difference of medians | then |
//! |---|---|---|
//! | not by chance | beyond the threshold | improved or regressed |
//! | not by chance | within it | no change |
//! | may be chance | its 95 % interval lies within the threshold | no change |
//! | may be chance | the interval goes beyond | too noisy to say |
//! | could not have told, with so few repeats | whatever it is | too few repeats to say |
//!
//! "No change" is a claim as well, and three runs on each side cannot make it: the last row comes
//! before those above it unless the test did tell.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::metric::Metric;
use crate::statistics::{
    difference_interval, holm, least_p_value, least_repeats, median, permutation_test,
};

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
    /// No difference could be told from chance with so few repeats.
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
    pub p_value: Option<f64>,
    pub adjusted_p_value: Option<f64>,
    /// The repeats on each side with which more could be said; where they are too few.
    pub needed: Option<usize>,
}

/// The values of one metric on both sides.
pub(super) struct Pair<'a> {
    pub metric: &'a Metric,
    pub reference: &'a [f64],
    pub candidate: &'a [f64],
}

/// Judges all metrics of a scenario together.
pub(super) fn judge(pairs: &[Pair], rules: &Rules) -> Vec<Finding> {
    let p_values: Vec<Option<f64>> =
        pairs.iter().map(|it| permutation_test(it.reference, it.candidate, rules.seed)).collect();
    let known: Vec<f64> = p_values.iter().flatten().copied().collect();
    let mut adjusted = holm(&known).into_iter();
    let one = |(pair, p_value): (&Pair, Option<f64>)| match p_value {
        None => Finding {
            change: Change::NotMeasured,
            difference: None,
            low: None,
            high: None,
            p_value: None,
            adjusted_p_value: None,
            needed: None,
        },
        Some(p) => finding(pair, p, adjusted.next().unwrap_or(1.0), known.len(), rules),
    };
    pairs.iter().zip(p_values).map(one).collect()
}

fn finding(pair: &Pair, p_value: f64, adjusted: f64, family: usize, rules: &Rules) -> Finding {
    let middle = |values: &[f64]| median(values).unwrap_or(f64::NAN);
    let reference = middle(pair.reference);
    let difference = middle(pair.candidate) - reference;
    let share = rules.threshold(pair.metric.name);
    let threshold = (share * reference.abs()).max(pair.metric.least);
    let interval = difference_interval(pair.reference, pair.candidate, rules.seed);
    let least = least_p_value(pair.reference.len(), pair.candidate.len()).unwrap_or(1.0);
    let is_real = adjusted <= rules.alpha;
    let could_tell = least * family as f64 <= rules.alpha;
    let is_within = interval.is_some_and(|it| it.low >= -threshold && it.high <= threshold);
    let change = match () {
        () if is_real && difference.abs() <= threshold => Change::NoChange,
        () if is_real && (difference > 0.0) == pair.metric.more_is_better => Change::Improved,
        () if is_real => Change::Regressed,
        () if !could_tell => Change::TooFew,
        () if is_within => Change::NoChange,
        () => Change::TooNoisy,
    };
    Finding {
        change,
        difference: Some(difference),
        low: interval.map(|it| it.low),
        high: interval.map(|it| it.high),
        p_value: Some(p_value),
        adjusted_p_value: Some(adjusted),
        needed: (change == Change::TooFew).then(|| least_repeats(rules.alpha / family as f64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(reference: &[f64], candidate: &[f64]) -> Finding {
        let metric = Metric::named("total-time").unwrap();
        judge(&[Pair { metric, reference, candidate }], &Rules::default())[0]
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
        let metric = Metric::named("guest-throughput").unwrap();
        let (reference, candidate) = (around(1e8, 0.01, 10), around(8e7, 0.01, 10));
        let pair = Pair { metric, reference: &reference, candidate: &candidate };
        assert_eq!(judge(&[pair], &Rules::default())[0].change, Change::Regressed);
    }

    #[test]
    fn a_threshold_of_ones_own_wins() {
        let metric = Metric::named("total-time").unwrap();
        let (reference, candidate) = (around(1.0, 0.01, 10), around(1.08, 0.01, 10));
        let pair = || Pair { metric, reference: &reference, candidate: &candidate };
        let wide = Rules { thresholds: vec![("total-time".into(), 0.1)], ..Rules::default() };
        assert_eq!(judge(&[pair()], &Rules::default())[0].change, Change::Regressed);
        assert_eq!(judge(&[pair()], &wide)[0].change, Change::NoChange);
    }

    #[test]
    fn too_few_says_how_many_would_do() {
        let found = one(&[1.0, 1.1, 0.9], &[2.0, 2.1, 1.9]);
        assert_eq!((found.change, found.needed), (Change::TooFew, Some(5)));
    }

    #[test]
    fn what_lies_below_the_least_difference_that_matters_is_no_change() {
        let metric = Metric::named("downtime").unwrap();
        let (reference, candidate) = (around(1e-4, 0.01, 10), around(2e-4, 0.01, 10));
        let pair = Pair { metric, reference: &reference, candidate: &candidate };
        assert_eq!(judge(&[pair], &Rules::default())[0].change, Change::NoChange);
    }
}
