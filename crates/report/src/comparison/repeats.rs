//! What the repeats of one run say together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Metric, Sample, Span};
use crate::{Integrity, Report, Verdict};

/// What stands in the field `schema` of every such document.
pub const REPEATS_SCHEMA_NAME: &str = "sterna-repeats";

/// The version of their shape, as `major.minor`.
pub const REPEATS_SCHEMA_VERSION: &str = "1.0";

/// The runs of one scenario, taken together.
///
/// Unknown values are null, never 0. Within a major version of the schema fields are only added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Repeats {
    /// Always `sterna-repeats`; tells this document from other JSON.
    #[schemars(extend("const" = REPEATS_SCHEMA_NAME))]
    pub schema: String,
    /// Version of the shape, `major.minor`.
    #[schemars(extend("pattern" = "^1\\.[0-9]+$"))]
    pub schema_version: String,
    /// How many there are.
    pub runs: u64,
    /// How many of them completed, also when forced.
    pub completed: u64,
    /// In how many the guest's memory was corrupt.
    pub corrupt: u64,
    /// Each verdict with its count, in the order of their first appearance.
    pub verdicts: Vec<VerdictCount>,
    /// The metrics that at least one run knows.
    pub metrics: Vec<MetricRepeats>,
}

/// How many runs ended so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerdictCount {
    /// The verdict.
    pub verdict: Verdict,
    /// The number of runs that have it.
    pub count: u64,
}

/// One metric over all runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricRepeats {
    /// The metric's name.
    pub metric: String,
    /// What it is counted in.
    pub unit: String,
    /// Its values.
    pub sample: Sample,
}

impl Repeats {
    /// Takes runs together, whatever became of them.
    pub fn of(reports: &[Report], seed: u64) -> Repeats {
        let count = |is: fn(&Report) -> bool| reports.iter().filter(|it| is(it)).count() as u64;
        let mut verdicts: Vec<VerdictCount> = Vec::new();
        for report in reports {
            let verdict = report.summary.verdict;
            match verdicts.iter_mut().find(|it| it.verdict == verdict) {
                Some(entry) => entry.count += 1,
                None => verdicts.push(VerdictCount { verdict, count: 1 }),
            }
        }
        let metric = |metric: &Metric| {
            let values: Vec<Span> = reports.iter().filter_map(|it| metric.span(it)).collect();
            (!values.is_empty()).then(|| MetricRepeats {
                metric: metric.name.to_owned(),
                unit: metric.unit.as_str().to_owned(),
                sample: Sample::of(&values, seed),
            })
        };
        Repeats {
            schema: REPEATS_SCHEMA_NAME.to_owned(),
            schema_version: REPEATS_SCHEMA_VERSION.to_owned(),
            runs: reports.len() as u64,
            completed: count(|it| {
                matches!(it.summary.verdict, Verdict::Completed | Verdict::CompletedForced)
            }),
            corrupt: count(|it| it.summary.integrity == Integrity::Corrupt),
            verdicts,
            metrics: Metric::ALL.iter().filter_map(metric).collect(),
        }
    }
}
