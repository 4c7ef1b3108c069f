//! Bounds that a run was asked to keep to, and whether it did.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A bound that the run was asked to keep to, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Threshold {
    /// The bound as a sentence, for example `downtime>300ms`: the run misses it when this is true.
    pub fail_if: String,
    /// Name of the number that was looked at, for example `downtime`.
    pub metric: String,
    /// What `value` is counted in: `seconds`, `bytes`, `bytes_per_second`, `count` or `ratio`.
    pub unit: String,
    /// The number as the summary has it, in its unit. Null when it is not known.
    pub value: Option<f64>,
    /// True when the number may really be larger than `value`: it is a lower bound, or what it
    /// measures could not be seen below a resolution that is coarser than the bound.
    pub is_lower_bound: bool,
    /// What became of the bound.
    pub outcome: ThresholdOutcome,
}

/// What became of a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ThresholdOutcome {
    /// The number keeps to the bound.
    Kept,
    /// The number does not keep to it.
    Missed,
    /// The number is not known, or not well enough. It counts as missed: what was not seen is no evidence.
    Unknown,
}

impl Threshold {
    /// Whether the bound was seen to be kept.
    pub fn is_kept(&self) -> bool {
        self.outcome == ThresholdOutcome::Kept
    }
}
