//! The document of a comparison.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Change, Rules, Side, Span};
use crate::{Tool, Verdict, statistics};

/// What stands in the field `schema` of every comparison.
pub const COMPARISON_SCHEMA_NAME: &str = "sterna-comparison";

/// The version of their shape, as `major.minor`.
pub const COMPARISON_SCHEMA_VERSION: &str = "1.0";

/// Runs compared with others of the same scenarios.
///
/// The first side is the reference, and each other side is a candidate that is compared with it.
/// Unknown values are null, never 0. Within a major version of the schema fields are only added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// Always `sterna-comparison`; tells this document from other JSON.
    #[schemars(extend("const" = COMPARISON_SCHEMA_NAME))]
    pub schema: String,
    /// Version of the shape, `major.minor`.
    #[schemars(extend("pattern" = "^1\\.[0-9]+$"))]
    pub schema_version: String,
    /// The program that compared.
    pub tool: Tool,
    /// The error that is allowed for all metrics of a scenario together: among comparisons of
    /// equals, at most this share says that something changed.
    pub alpha: f64,
    /// What was compared, the reference first.
    pub sides: Vec<ComparisonSide>,
    /// A row for each scenario of each candidate.
    pub scenarios: Vec<ScenarioComparison>,
    /// What was left out and why, as sentences.
    pub notes: Vec<String>,
}

/// Runs that belong together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComparisonSide {
    /// What they are called.
    pub label: String,
    /// How many reports there are.
    pub reports: u64,
}

/// The runs of one scenario, in a candidate and in the reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScenarioComparison {
    /// The scenario's name in the reference.
    pub scenario: String,
    /// The engine; both, with an arrow between them, where they differ.
    pub engine: String,
    /// The reference's label.
    pub reference: String,
    /// The candidate's label.
    pub candidate: String,
    /// Runs of the reference.
    pub reference_runs: u64,
    /// Runs of the candidate.
    pub candidate_runs: u64,
    /// Settings of the scenario in which the two differ; a name and a seed do not count.
    pub differences: Vec<SettingDifference>,
    /// Whether the guest's memory fared as before.
    pub integrity: Ruling,
    /// Whether migrations ended as well as before.
    pub outcome: Ruling,
    /// The outcome whose runs the metrics compare, since a run that was cancelled has other times than
    /// one that completed; null where the two sides have no outcome in common, and in older documents.
    #[serde(default)]
    pub compared_outcome: Option<Verdict>,
    /// The metrics that at least one of the two knows.
    pub metrics: Vec<MetricComparison>,
}

/// A setting that is not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SettingDifference {
    /// Its dotted path, as in a scenario file.
    pub path: String,
    /// Its value in the reference; null where it has none.
    pub reference: Option<String>,
    /// Its value in the candidate; null where it has none.
    pub candidate: Option<String>,
}

/// What is said of something that is not a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ruling {
    /// What may be said.
    pub change: Change,
    /// Why, in a sentence.
    pub text: String,
}

/// One metric in both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricComparison {
    /// The metric's name, as `--threshold` takes it.
    pub metric: String,
    /// What it is counted in.
    pub unit: String,
    /// Whether more of it is better.
    pub more_is_better: bool,
    /// The reference's values.
    pub reference: Sample,
    /// The candidate's values.
    pub candidate: Sample,
    /// The candidate's median - the reference's median.
    pub difference: Option<f64>,
    /// `difference` / the reference's median; null where that is 0.
    pub relative_difference: Option<f64>,
    /// Lower end of the 95 % bootstrap interval of `difference`; null with fewer than three values
    /// on a side.
    pub difference_low: Option<f64>,
    /// Upper end of the same interval.
    pub difference_high: Option<f64>,
    /// The two-sided p-value of the permutation test of rank sums.
    pub p_value: Option<f64>,
    /// The same, adjusted after Holm for all tests of all metrics that could be tested here. It is
    /// this one that is compared with `alpha`.
    pub adjusted_p_value: Option<f64>,
    /// Runs of the candidate that are worse than every run of the reference by more than the
    /// threshold.
    #[serde(default)]
    pub worse_than_all: Option<u64>,
    /// The one-sided p-value of the test on ranks that so many of them come by chance.
    #[serde(default)]
    pub worse_p_value: Option<f64>,
    /// The same, adjusted as `adjusted_p_value` is, and compared with `alpha` as well.
    #[serde(default)]
    pub adjusted_worse_p_value: Option<f64>,
    /// The share of all pairs of a candidate's and a reference's run in which the candidate's is worse
    /// by more than the threshold; pairs within it count half. From 0.6 on it is an effect.
    #[serde(default)]
    pub probability_worse: Option<f64>,
    /// A difference below this share of the reference's median is noise.
    pub threshold: f64,
    /// What may be said.
    pub change: Change,
    /// Runs on each side with which a difference could be distinguished from chance; null unless there are
    /// too few.
    pub repeats_needed: Option<u64>,
}

/// The values of a metric on one side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// How many runs know it.
    pub count: u64,
    /// The median.
    pub median: Option<f64>,
    /// The median absolute deviation from the median, not scaled.
    pub mad: Option<f64>,
    /// Lower end of the 95 % bootstrap interval of the median; null with fewer than three values.
    pub low: Option<f64>,
    /// Upper end of the same interval.
    pub high: Option<f64>,
    /// The values themselves, in the order of the runs; of a lower bound the least that it says.
    pub values: Vec<f64>,
    /// How many of them are lower bounds.
    #[serde(default)]
    pub lower_bounds: u64,
}

impl Sample {
    /// What these values say; `seed` is that of the resamples.
    pub fn of(spans: &[Span], seed: u64) -> Sample {
        let values: Vec<f64> = spans.iter().map(|it| it.least).collect();
        let interval = statistics::median_interval(&values, seed);
        Sample {
            count: values.len() as u64,
            median: statistics::median(&values),
            mad: statistics::mad(&values),
            low: interval.map(|it| it.low),
            high: interval.map(|it| it.high),
            lower_bounds: spans.iter().filter(|it| it.is_lower_bound()).count() as u64,
            values,
        }
    }
}

impl Comparison {
    pub(super) fn new(sides: &[Side], rules: &Rules, tool: Tool) -> Comparison {
        let side = |it: &Side| ComparisonSide {
            label: it.label.clone(),
            reports: it.reports.len() as u64,
        };
        Comparison {
            schema: COMPARISON_SCHEMA_NAME.to_owned(),
            schema_version: COMPARISON_SCHEMA_VERSION.to_owned(),
            tool,
            alpha: rules.alpha,
            sides: sides.iter().map(side).collect(),
            scenarios: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// All that is said, of integrity, outcome and metrics.
    pub fn changes(&self) -> impl Iterator<Item = Change> + '_ {
        self.scenarios.iter().flat_map(|it| {
            let rulings = [it.integrity.change, it.outcome.change];
            rulings.into_iter().chain(it.metrics.iter().map(|it| it.change))
        })
    }

    /// Whether memory fared worse in some candidate: the one thing that no threshold excuses.
    pub fn is_integrity_worse(&self) -> bool {
        self.scenarios.iter().any(|it| it.integrity.change == Change::Regressed)
    }
}
